"""Makes the directory of a new replica, whole or not at all: of a new space, or of one that is held elsewhere."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from conjoin.errors import EmptySourceError, KeyFileError
from conjoin.log import Log, Operation, genesis_payload, parse
from conjoin.progress import Progress
from conjoin.store.home import Home, new_home
from conjoin.store.inplace import ReplicaStore
from conjoin.store.keys import SigningKey, create_key, load_key
from conjoin.store.keyuse import KeyUse, write_key_use
from conjoin.store.peers import KnownPeers
from conjoin.wire.envelope import seal

if TYPE_CHECKING:
    from conjoin.sync import SyncReport

LIMITS = {"deps": 16, "operation_bytes": 65_536, "operations_per_author": 1_000_000}


def found_space(
    path: Path,
    base: Path,
    *,
    name: str,
    key: Path | None,
    policy: Mapping[str, object],
    in_place: bool,
    progress: Progress,
) -> None:
    """See `Replica.init`; `policy` lacks the limits only."""
    from conjoin.store.checkpoint import open_checkpoint
    from conjoin.store.ingest import ingest, ingest_files

    checkpoint = open_checkpoint(base)
    with new_home(path) as home:
        signing_key = _provide_key(home, key)
        store = home.open_store()
        manifest = ingest(checkpoint, store, in_place=in_place, references=store.references, progress=progress)
        files = ingest_files(checkpoint.files, store)
        body = {
            "base": manifest.digest,
            "files": files.digest,
            "name": name,
            "nonce": os.urandom(16).hex(),
            "policy": {"limits": LIMITS, **policy},
        }
        payload = genesis_payload(signing_key.public, body)
        genesis = parse(seal(payload, signing_key.public, signing_key.sign))
        store.put(genesis.name, genesis.envelope)
        write_key_use(home.key_use, KeyUse(signing_key.public, 1, genesis.id))
        home.write_config(genesis.id, key)


def clone_from_place(
    source: str, path: Path, *, key: Path | None, space: str | None, let_in: Callable[[str], None], progress: Progress
) -> "SyncReport":
    """See `Replica.clone`; `let_in` is called with the new public key before anything is read of the space."""
    from conjoin.sync import choose_space, discover_spaces, open_remote, synchronise
    from conjoin.sync.known import remember_met

    remote = open_remote(source)
    genesis = choose_space(discover_spaces(remote), space)
    with new_home(path, resuming=genesis.id) as home:
        signing_key = _provide_key(home, key)
        home.keep = True
        let_in(signing_key.public)
        store = home.open_store()
        store.put(genesis.name, genesis.envelope)
        log = Log.founded_by(genesis)
        report = synchronise(
            log, store, remote, push=False, persist_operation=_keep_in(store), progress=progress, source=source
        )
        _configure(home, log, signing_key, key)
        remember_met(KnownPeers(home.peers), source, replace(report, lacking_there=0), len(log))
    return report


def clone_from_peer(ticket: str, path: Path, *, key: Path | None, progress: Progress) -> "SyncReport":
    """See `Replica.clone`."""
    from conjoin.sync import dial, synchronise_with
    from conjoin.sync.known import remember_met
    from conjoin.sync.peers.ticket import parse_ticket

    with new_home(path, resuming=parse_ticket(ticket).space) as home:
        signing_key = _provide_key(home, key)
        store = home.open_store()
        with dial(ticket, _Shown(signing_key, home)) as peer:
            log, keep = Log(peer.space), _keep_in(store)
            report = synchronise_with(log, store, peer, push=False, persist_operation=keep, progress=progress)
        if not log.has(log.space):
            raise EmptySourceError(
                "the peer did not give the operation that founded the space",
                where=peer.where,
                hint="clone from another replica or meeting place",
            )
        _configure(home, log, signing_key, key)
        remember_met(KnownPeers(home.peers), ticket, replace(report, lacking_there=0), len(log))
    return report


def _keep_in(store: ReplicaStore) -> Callable[[Operation], None]:
    return lambda operation: store.put(operation.name, operation.envelope)


class _Shown:
    """A key that is kept from when it is shown to a peer, who may let it in and will not do so twice."""

    def __init__(self, key: SigningKey, home: Home) -> None:
        self.public = key.public
        self._key = key
        self._home = home

    def sign(self, data: bytes) -> bytes:
        """See `SigningKey`."""
        self._home.keep = True
        return self._key.sign(data)


def _provide_key(home: Home, key: Path | None) -> SigningKey:
    """Load the user's key, or that of an earlier attempt, or make one inside the new replica."""
    if key is not None:
        loaded = load_key(key)  # an earlier attempt's stays where this one cannot be read
        home.key.unlink(missing_ok=True)
        return loaded
    with suppress(KeyFileError):
        return load_key(home.key)
    home.key.unlink(missing_ok=True)
    return create_key(home.key)


def _configure(home: Home, log: Log, signing_key: SigningKey, key: Path | None) -> None:
    """Make the replica in `home` one of the log's space, unless its key has written there already."""
    if log.head_of(signing_key.public) is not None:
        home.keep = False
        raise KeyFileError(
            f"key {signing_key.public[:12]} writes in this space already, from another replica",
            where=str(signing_key.path),
            hint="two replicas with one key would fork the log: leave out the key, or give one of its own",
        )
    write_key_use(home.key_use, KeyUse(signing_key.public))
    home.write_config(log.space, key)
