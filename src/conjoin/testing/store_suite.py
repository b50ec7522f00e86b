"""StoreSuite: what every `Store` must do, as tests to inherit; it damages stored bytes and expects to be told.

A new store proves itself in a few lines::

    class TestMyStore(StoreSuite):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)

        def overwrite(self, store, name, data): ...  # change the stored bytes behind the store's back
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conjoin.errors import DamagedObjectError, MissingObjectError
from conjoin.store.base import Store, batch
from conjoin.wire import canonical
from conjoin.wire.digest import LEAF_BYTES, leaf_digest, merkle_root, sha256
from conjoin.wire.envelope import seal
from conjoin.wire.manifest import Manifest, TensorEntry
from conjoin.wire.objects import leaf_name, manifest_name, operation_name, parse_leaf

_KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2)]
_AUTHORS = [key.public_key().public_bytes_raw().hex() for key in _KEYS]


def a_leaf(data: bytes) -> tuple[str, bytes]:
    """A leaf object: its name and bytes."""
    return leaf_name(leaf_digest(data)), data


def a_manifest(*names: str) -> tuple[str, bytes]:
    """A manifest of one-byte U8 tensors called `names`."""
    manifest = Manifest.of(TensorEntry(name, "U8", (1,), (leaf_digest(b"x"),)) for name in names)
    return manifest_name(manifest.digest), manifest.encode()


def an_operation(seq: int, author: int = 0) -> tuple[str, bytes]:
    """An operation's envelope, signed by one of two authors; its payload holds no more than a store looks at."""
    payload = canonical.encode({"seq": seq})
    envelope = seal(payload, _AUTHORS[author], _KEYS[author].sign)
    return operation_name(_AUTHORS[author], seq, sha256(payload)), envelope


def some_objects() -> dict[str, bytes]:
    """A few objects of every kind."""
    leaves = [a_leaf(bytes([i]) * (i * 997)) for i in range(5)]
    return dict([*leaves, a_manifest("a"), a_manifest("a", "b"), *(an_operation(seq) for seq in range(3))])


class StoreSuite:
    """Inherit, give a fixture `store` that returns an empty store, and `overwrite`."""

    @pytest.fixture
    def store(self) -> Store:
        """An empty store of the kind under test."""
        raise NotImplementedError

    def overwrite(self, store: Store, name: str, data: bytes) -> None:
        """Replace the stored bytes of an object without the store knowing."""
        raise NotImplementedError

    def test_starts_empty(self, store: Store) -> None:
        """Nothing is here before the first put, and asking says so by name."""
        assert list(store.names("")) == []
        for name in some_objects():
            assert not store.has(name)
            with pytest.raises(MissingObjectError, match=name):
                store.get(name)

    def test_gives_back_what_was_put(self, store: Store) -> None:
        """Every kind of object comes back byte for byte."""
        objects = some_objects()
        for name, data in objects.items():
            store.put(name, data)
        assert {name: store.get(name) for name in objects} == objects
        assert all(store.has(name) for name in objects)

    def test_takes_any_buffer(self, store: Store) -> None:
        """A put of a memoryview keeps the bytes, not the buffer."""
        buffer = bytearray(b"before")
        name, data = a_leaf(bytes(buffer))
        store.put(name, memoryview(buffer))
        buffer[:] = b"after!"
        assert store.get(name) == data

    def test_putting_twice_changes_nothing(self, store: Store) -> None:
        """The second put of a name is ignored."""
        name, data = a_leaf(b"once")
        store.put(name, data)
        store.put(name, data)
        assert store.get(name) == data
        assert list(store.names("")) == [name]

    def test_lists_by_prefix_in_order(self, store: Store) -> None:
        """`names` gives exactly the names with the prefix, ascending."""
        objects = some_objects()
        for name, data in objects.items():
            store.put(name, data)
        ordered = sorted(objects)
        prefixes = ["", "leaf/", "manifest/", "ops/", f"ops/{_AUTHORS[0]}/", "nothing/", "leaf/zz", "l", "ops"]
        prefixes += [ordered[0], ordered[0][:9], ordered[-1][:-3]]
        for prefix in prefixes:
            assert list(store.names(prefix)) == [name for name in ordered if name.startswith(prefix)]

    def test_reads_leaves_into_a_buffer(self, store: Store) -> None:
        """`read_leaf` fills the start of the buffer and says how much; full, short and empty leaves."""
        buffer = bytearray(LEAF_BYTES)
        for size in (LEAF_BYTES, LEAF_BYTES - 4096, 5, 0):
            name, data = a_leaf(bytes([size % 251]) * size)
            digest = parse_leaf(name)
            assert digest is not None
            store.put(name, data)
            for trusted in (False, True):
                buffer[:] = bytes(LEAF_BYTES)
                assert store.read_leaf(digest, memoryview(buffer), trusted=trusted) == size
                assert bytes(buffer[:size]) == data

    def test_missing_leaf_is_named(self, store: Store) -> None:
        """`read_leaf` of an absent leaf raises and names it."""
        digest = leaf_digest(b"absent")
        with pytest.raises(MissingObjectError, match=digest):
            store.read_leaf(digest, memoryview(bytearray(LEAF_BYTES)))

    def test_a_leaf_too_long_for_the_buffer_is_damaged(self, store: Store) -> None:
        """`read_leaf` never writes past the buffer and never returns a part of a leaf."""
        name, data = a_leaf(b"0123456789")
        store.put(name, data)
        with pytest.raises(DamagedObjectError, match=name):
            store.read_leaf(leaf_digest(data), memoryview(bytearray(4)))

    def test_every_flipped_byte_is_found(self, store: Store) -> None:
        """Whichever byte of an object's content changes, `get` raises and names the object."""
        leaf, manifest = a_leaf(b"some content"), a_manifest("a")
        for name, data in (leaf, manifest):
            store.put(name, data)
            for place in range(len(data)):
                changed = bytearray(data)
                changed[place] ^= 1 << (place % 8)
                self.overwrite(store, name, bytes(changed))
                with pytest.raises(DamagedObjectError, match=name):
                    store.get(name)
            for wrong in (b"", data[:-1], data + b"\n"):
                self.overwrite(store, name, wrong)
                with pytest.raises(DamagedObjectError, match=name):
                    store.get(name)

    def test_damaged_leaf_is_found_unless_trusted(self, store: Store) -> None:
        """`read_leaf` verifies; `trusted` is the only way around it."""
        name, data = a_leaf(b"some content")
        store.put(name, data)
        self.overwrite(store, name, b"sxme content")
        buffer = memoryview(bytearray(100))
        with pytest.raises(DamagedObjectError, match=name):
            store.read_leaf(leaf_digest(data), buffer)
        assert store.read_leaf(leaf_digest(data), buffer, trusted=True) == len(data)

    def test_an_operation_under_another_name_is_damaged(self, store: Store) -> None:
        """An operation's payload and author must be those of its name."""
        name, data = an_operation(1)
        store.put(name, data)
        for wrong in (an_operation(2)[1], an_operation(1, author=1)[1], b"{}"):
            self.overwrite(store, name, wrong)
            with pytest.raises(DamagedObjectError, match=name):
                store.get(name)

    def test_removed_is_missing(self, store: Store) -> None:
        """`remove` forgets; removing what is not here is fine; it can be put again."""
        name, data = a_leaf(b"gone")
        store.remove(name)
        store.put(name, data)
        store.remove(name)
        assert not store.has(name)
        assert list(store.names("")) == []
        store.put(name, data)
        assert store.get(name) == data

    def test_what_names_no_object_is_never_here(self, store: Store) -> None:
        """Paths, near misses and nonsense are absent, not errors of another kind."""
        digest = merkle_root([])
        for name in (
            "",
            ".",
            "..",
            "/etc/passwd",
            "../x",
            f"leaf/{digest}",
            f"leaf/00/{digest}/",
            f"manifest/{digest}x",
        ):
            assert not store.has(name)
            with pytest.raises(MissingObjectError):
                store.get(name)

    def test_many_threads_put_the_same_objects(self, store: Store) -> None:
        """Concurrent puts of equal names leave one whole object each."""
        objects = dict(a_leaf(bytes([i]) * 5000) for i in range(40))

        def put_all(_: int) -> None:
            with batch(store):
                for name, data in objects.items():
                    store.put(name, data)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(put_all, range(4)))
        assert list(store.names("")) == sorted(objects)
        assert {name: store.get(name) for name in objects} == objects

    def test_objects_of_a_batch_are_there_at_once(self, store: Store) -> None:
        """Inside a batch everything can be read; an error in it loses nothing that was put."""
        objects = some_objects()

        def put_then_fail() -> None:
            with batch(store):
                for name, data in objects.items():
                    store.put(name, data)
                    assert store.get(name) == data
                raise KeyError

        with pytest.raises(KeyError):
            put_then_fail()
        assert list(store.names("")) == sorted(objects)
