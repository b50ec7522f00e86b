"""Sites with real keys, logs and stores in memory, and hostile storages for them to meet at; no network, no disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conjoin.errors import DeviceError
from conjoin.log import Log, Operation, draft, genesis_payload, parse, views
from conjoin.store.memory import MemoryStore
from conjoin.sync import SyncReport, synchronise
from conjoin.sync.pulling import needed_content
from conjoin.sync.remotes import MemoryRemote, Remote
from conjoin.wire import canonical
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import Digest, leaf_digest
from conjoin.wire.envelope import seal
from conjoin.wire.manifest import Manifest, TensorEntry
from conjoin.wire.objects import leaf_name, manifest_name

LEAF = 4 * 1024 * 1024


def keep_content(store: MemoryStore, tensors: Mapping[str, bytes]) -> Digest:
    """Keep U8 tensors as leaves and a manifest; return the content digest."""
    entries = []
    for name, data in tensors.items():
        leaves = []
        for start in range(0, len(data), LEAF):
            piece = data[start : start + LEAF]
            leaves.append(leaf_digest(piece))
            store.put(leaf_name(leaves[-1]), piece)
        entries.append(TensorEntry(name, "U8", (len(data),), tuple(leaves)))
    manifest = Manifest.of(entries)
    store.put(manifest_name(manifest.digest), manifest.encode())
    return manifest.digest


class Site:
    """One replica: key, log, store; what it persisted, in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.author = self._key.public_key().public_bytes_raw().hex()
        self.store = MemoryStore()
        self.events: list[str] = []
        self.log: Log

    @classmethod
    def founding(cls, name: str, *, is_open: bool = True) -> Site:
        site = cls(name)
        body = {
            "base": keep_content(site.store, {"w": b"base" * 100, "shared": b"s" * 300}),
            "files": keep_content(site.store, {"config.json": b"{}"}),
            "name": name,
            "nonce": hashlib.sha256(name.encode()).hexdigest()[:32],
            "policy": {
                "limits": {"deps": 16, "operation_bytes": 65536, "operations_per_author": 1_000_000},
                "open": is_open,
                "retract": "author",
            },
        }
        genesis = parse(seal(genesis_payload(site.author, body), site.author, site._key.sign))
        site.log = Log.founded_by(genesis)
        site.store.put(genesis.name, genesis.envelope)
        return site

    @classmethod
    def joining(cls, name: str, other: Site) -> Site:
        site = cls(name)
        site.log = Log.founded_by(other.log.get(other.log.space))
        return site

    def write(self, kind: str, body: canonical.Json) -> Operation:
        payload = draft(self.log, self.author, kind, body)
        operation = parse(seal(payload, self.author, self._key.sign))
        verdict = self.log.offer(operation)
        assert verdict.status == "admitted", verdict.error
        self.persist(operation)
        return operation

    def sign(self, payload: bytes) -> bytes:
        return seal(payload, self.author, self._key.sign)

    def add(self, seed: str, *, size_bytes: int = 500, extras: Mapping[str, bytes] | None = None) -> Digest:
        data = hashlib.shake_128(seed.encode()).digest(size_bytes)
        weights = keep_content(self.store, {"w": data, "shared": b"s" * 300})
        side = {name: keep_content(self.store, {"f": value}) for name, value in (extras or {}).items()}
        contribution = Contribution(weights, self.log.genesis.base, "1", side)
        self.write("add", {"contribution": contribution.to_json(), "license": "", "time": "", "title": seed})
        return contribution.digest

    def retract(self, contribution: Digest) -> Operation:
        return self.write("retract", {"adds": self.own_adds(contribution)})

    def own_adds(self, contribution: Digest) -> list[Digest]:
        """Ids of this site's adds of a contribution, ascending."""
        adds = views.contributions(self.log)[contribution].adds
        return sorted(add.id for add in adds if add.author == self.author)

    def persist(self, operation: Operation) -> None:
        self.events.append(operation.name)
        self.store.put(operation.name, operation.envelope)

    def sync(self, remote: Remote, *, push: bool = True, full: bool = False, threads: int = 4) -> SyncReport:
        keep = self.persist
        return synchronise(self.log, self.store, remote, push=push, full=full, threads=threads, persist_operation=keep)

    @property
    def ids(self) -> set[Digest]:
        return {operation.id for operation in self.log.operations()}

    def holds_everything(self) -> bool:
        """Every needed manifest and all its leaves are here and undamaged."""
        for digest in needed_content(self.log):
            manifest = Manifest.decode(self.store.get(manifest_name(digest)), digest)
            for leaf, size in manifest.leaf_lengths().items():
                assert len(self.store.get(leaf_name(leaf))) == size
        return True


def assert_kept_in_order(objects: list[str], contents: Mapping[str, bytes]) -> None:
    """In a sequence of writes, leaves precede their manifest and content precedes the operations that add it."""
    place = {name: index for index, name in reversed(list(enumerate(objects)))}
    for name in objects:
        if name.startswith("manifest/"):
            manifest = Manifest.decode(contents[name], Digest(name[9:]))
            assert all(place[leaf_name(leaf)] < place[name] for leaf in manifest.leaf_lengths())
        elif name.startswith("ops/"):
            operation = parse(contents[name])
            if operation.type == "add":
                assert place[manifest_name(Digest(operation.body["contribution"]["weights"]))] < place[name]


def assert_complete(contents: Mapping[str, bytes]) -> None:
    """Whatever is there has what it needs there too."""
    names = sorted(contents, key=lambda name: ("leaf", "manifest", "ops", "seg", "fork").index(name.split("/")[0]))
    assert_kept_in_order(names, contents)


class RecordingRemote(MemoryRemote):
    """Remembers the order of what was put."""

    def __init__(self) -> None:
        super().__init__("recording")
        self.puts: list[str] = []

    def put(self, name: str, data: bytes) -> None:
        if not self.has(name):
            self.puts.append(name)
        super().put(name, data)


class LyingRemote(MemoryRemote):
    """A copy of another remote that changes what it says: `bend` gets each name and its bytes."""

    def __init__(self, honest: MemoryRemote, bend: Callable[[str, bytes], bytes]) -> None:
        super().__init__("liar")
        self.objects = dict(honest.objects)
        self._bend = bend

    def get(self, name: str, size_bytes_max: int = 2**30) -> bytes:
        return self._bend(name, super().get(name, 2**40))


class EndlessRemote(MemoryRemote):
    """Never stops listing."""

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        yield from super().names(prefix, after)
        number = 0
        while True:
            number += 1
            yield f"{prefix}junk-{number}"


class DyingStore(MemoryStore):
    """A store whose disk fails at its N-th write."""

    def __init__(self, die_at: int) -> None:
        super().__init__()
        self._left = die_at

    def put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self._left -= 1
        if self._left < 0:
            raise DeviceError("the disk failed")
        super().put(name, data)
