"""The key a replica signs with: what it signed here, and where else it was seen to sign; admits no operation."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from conjoin.errors import CopiedReplicaError, KeyFileError, NotPermittedError, UsedKeyError
from conjoin.log import Log, Operation, draft, parse, views
from conjoin.store.home import Home
from conjoin.store.instance import check_instance
from conjoin.store.keys import SigningKey, load_key
from conjoin.store.keyuse import KeyUse, read_key_use, write_key_use
from conjoin.wire.envelope import seal


def load_own_key(path: Path) -> SigningKey:
    """The key of a replica that is there already, which can take a new one.

    Raises:
        KeyFileError: it cannot be read.
    """
    try:
        return load_key(path)
    except KeyFileError as error:
        mend = error.hint if os.path.exists(path) else "put it back"
        raise KeyFileError(
            error.what, where=error.where, hint=f"{mend}, or `conjoin rekey` gives this replica a new key"
        ) from error


class OwnKey:
    """The private key of the replica in `home`, read from the file `path` when it is first needed.

    Every method that needs the key raises KeyFileError where it cannot be read, `load_if_any` and `watch` do not.
    """

    def __init__(self, home: Home, path: Path) -> None:
        self._home = home
        self._path = path
        self._loaded: SigningKey | None = None

    def load(self) -> SigningKey:
        """The key.

        Raises:
            KeyFileError: it cannot be read.
        """
        if self._loaded is None:
            self._loaded = load_own_key(self._path)
        return self._loaded

    def load_if_any(self) -> SigningKey | None:
        """The key; None where it cannot be read."""
        with suppress(KeyFileError):
            return self.load()
        return None

    def forget(self) -> None:
        """Hold the private half no longer."""
        self._loaded = None

    def use(self, log: Log) -> KeyUse:
        """What is remembered of the key; at first, what it has signed in the log that is here."""
        key = self.load().public
        known = read_key_use(self._home.key_use, key)
        if known is not None:
            return known
        head = log.head_of(key)
        return KeyUse(key) if head is None else KeyUse(key, head.seq + 1, head.id)

    def watch(self, log: Log) -> str | None:
        """Look for an operation that the key signed elsewhere, and remember it; returns its name."""
        key = self.load_if_any()
        if key is None:
            return None
        use = self.use(log)
        if use.elsewhere is None:
            foreign = views.signed_elsewhere(log, key.public, use.count, use.last)
            use = replace(use, elsewhere=foreign.name if foreign else None)
        if use != read_key_use(self._home.key_use, key.public):
            write_key_use(self._home.key_use, use)
        return use.elsewhere

    def is_ahead_of(self, log: Log) -> bool:
        """Whether the key signed what the log lacks: the log is behind, or an operation was never written."""
        last = self.use(log).last
        return last is not None and not log.has(last)

    def require_unused(self, log: Log) -> None:
        """Refuse to sign with a key that signs elsewhere too.

        Raises:
            UsedKeyError: it does.
        """
        use = self.use(log)
        if use.elsewhere is not None:
            raise UsedKeyError(
                f"key {use.key[:12]} of this replica has signed operations elsewhere: this is a restored backup, "
                "or a copy of it is in use",
                where=use.elsewhere,
                hint="`conjoin rekey` gives this replica a new key",
            )

    def sign(self, log: Log, kind: str, body: dict[str, Any], by: SigningKey | None = None) -> Operation:
        """The next operation of this key, or of another one that the replica had; the log does not have it yet."""
        key = by or self.load()
        operation = parse(seal(draft(log, key.public, kind, body), key.public, key.sign))
        if key is self._loaded:  # before anybody sees it: what is seen beyond this was signed elsewhere
            write_key_use(self._home.key_use, KeyUse(key.public, operation.seq + 1, operation.id))
        return operation

    def signer_of_successor(self, log: Log, members: Mapping[str, str], *, sign_in: bool) -> SigningKey | None:
        """The admin's key that lets a new one in: this one if it signs here only, any one if `sign_in` asks for that.

        Raises:
            NotPermittedError: that was asked for, and no key that this replica has or had is an admin's.
        """
        current = self.load_if_any()
        admins = {key for key, role in members.items() if role == "admin"}
        if not sign_in:
            with suppress(CopiedReplicaError):
                check_instance(self._home.instance)
                if current is not None and current.public in admins and self.watch(log) is None:
                    return current
            return None
        had = [load_key(path) for path in self._home.kept_keys()]
        for key in [*filter(None, [current]), *had]:
            if key.public in admins:
                return key
        raise NotPermittedError(
            "no key that this replica has or had is an admin's", hint="ask an admin; `conjoin status` counts them"
        )
