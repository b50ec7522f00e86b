"""RemoteSuite: what every `Remote` must do, as tests to inherit; it trusts no implementation's word for it.

A new remote proves itself in a few lines::

    class TestMyRemote(RemoteSuite):
        @pytest.fixture
        def remote(self, tmp_path):
            return MyRemote(tmp_path)
"""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from conjoin.errors import MissingObjectError, RemoteError
from conjoin.sync.remotes import Remote
from conjoin.sync.remotes.base import pieces_of
from conjoin.wire.digest import LEAF_BYTES, leaf_digest
from conjoin.wire.objects import leaf_name, manifest_name, operation_name

_AUTHOR = "ab" * 32


def leaf_of(data: bytes) -> tuple[str, bytes]:
    """A leaf object: its name and bytes."""
    return leaf_name(leaf_digest(data)), data


def some_objects() -> dict[str, bytes]:
    """A few objects of each kind. A remote knows names only, so manifests and operations may hold any bytes here."""
    digests = [leaf_digest(bytes([i])) for i in range(6)]
    objects = dict(leaf_of(bytes([i]) * (i * 1000 + 1)) for i in range(4))
    objects |= {manifest_name(digest): digest.encode() for digest in digests[:2]}
    objects |= {operation_name(_AUTHOR, seq, digest): digest.encode() * 3 for seq, digest in enumerate(digests)}
    return objects


class RemoteSuite:
    """Inherit, and give a fixture `remote` that returns an empty remote."""

    @pytest.fixture
    def remote(self) -> Remote:
        """An empty remote of the kind under test."""
        raise NotImplementedError

    def test_is_named(self, remote: Remote) -> None:
        """Reports can name it."""
        assert remote.where

    def test_starts_empty(self, remote: Remote) -> None:
        """Nothing is listed or held before the first put."""
        assert list(remote.names("")) == []
        assert not any(remote.has(name) for name in some_objects())

    def test_gives_back_what_was_put(self, remote: Remote) -> None:
        """Every kind of object comes back byte for byte."""
        objects = some_objects()
        for name, data in objects.items():
            remote.put(name, data)
        assert {name: remote.get(name) for name in objects} == objects
        assert all(remote.has(name) for name in objects)

    def test_lists_by_prefix(self, remote: Remote) -> None:
        """A listing holds exactly the names under its prefix, each once."""
        objects = some_objects()
        for name, data in objects.items():
            remote.put(name, data)
        some_leaf = next(name for name in objects if name.startswith("leaf/"))
        for prefix in ("", "ops/", "manifest/", "leaf/", f"ops/{_AUTHOR}/", some_leaf[:7], some_leaf[:20], some_leaf):
            assert sorted(remote.names(prefix)) == sorted(name for name in objects if name.startswith(prefix)), prefix
        assert list(remote.names("ops/ff")) == []
        assert list(remote.names("nothing")) == []

    def test_lists_what_comes_after_a_name(self, remote: Remote) -> None:
        """Leaving out earlier names is allowed, leaving out a later one is not."""
        objects = some_objects()
        for name, data in objects.items():
            remote.put(name, data)
        chain = sorted(name for name in objects if name.startswith("ops/"))
        for after in (chain[0], chain[2], chain[-1], f"ops/{_AUTHOR}/", "ops/", "leaf/zz", "zz"):
            found = list(remote.names(f"ops/{_AUTHOR}/", after))
            assert len(found) == len(set(found)), after
            assert {name for name in chain if name > after} <= set(found) <= set(chain), after
        assert set(remote.names("leaf/", "leaf/")) == {name for name in objects if name.startswith("leaf/")}

    def test_lists_folders(self, remote: Remote) -> None:
        """Authors, kinds and pairs of characters are found without their objects; no foreign folder is."""
        assert list(remote.folders("ops/")) == []
        objects = some_objects()
        for name, data in objects.items():
            remote.put(name, data)
        assert sorted(remote.folders("")) == ["leaf", "manifest", "ops"]
        assert list(remote.folders("ops/")) == [_AUTHOR]
        leaves = {name.split("/")[1] for name in objects if name.startswith("leaf/")}
        found = list(remote.folders("leaf/"))
        assert len(found) == len(set(found))
        assert leaves <= set(found)
        assert all(re.fullmatch("[0-9a-f]{2}", pair) for pair in found)
        for prefix in ("manifest/", f"ops/{_AUTHOR}/", "nothing/"):
            assert list(remote.folders(prefix)) == [], prefix

    def test_a_missing_object_is_said_to_be_missing(self, remote: Remote) -> None:
        """Missing is its own error, so that a session can tell it from a broken remote."""
        name, _ = leaf_of(b"never put")
        with pytest.raises(MissingObjectError):
            remote.get(name)

    def test_putting_twice_keeps_the_first(self, remote: Remote) -> None:
        """Objects are immutable: the same name with other bytes changes nothing."""
        name, data = leaf_of(b"first")
        remote.put(name, data)
        remote.put(name, data)
        remote.put(name, b"other")
        assert remote.get(name) == data
        assert list(remote.names("leaf/")) == [name]

    def test_holds_a_full_leaf(self, remote: Remote) -> None:
        """Leaves of 4 MiB go through whole."""
        name, data = leaf_of(bytes(range(256)) * (LEAF_BYTES // 256))
        remote.put(name, data)
        assert remote.get(name, LEAF_BYTES) == data
        pieces = [bytes(piece) for piece in pieces_of(remote, name, LEAF_BYTES)]
        assert all(pieces)
        assert b"".join(pieces) == data

    def test_refuses_to_read_beyond_the_limit(self, remote: Remote) -> None:
        """The caller's bound on memory holds."""
        name, data = leaf_of(b"x" * 1001)
        remote.put(name, data)
        assert remote.get(name, 1001) == data
        with pytest.raises(RemoteError):
            remote.get(name, 1000)
        with pytest.raises(RemoteError):
            list(pieces_of(remote, name, 1000))

    def test_names_that_are_no_objects_are_not_there(self, remote: Remote) -> None:
        """No name reaches outside the objects."""
        for name in ("", "leaf", "leaf/../../secret", "/etc/hostname", "ops/x/y", "manifest/../conjoin.json"):
            assert not remote.has(name)
            with pytest.raises(MissingObjectError):
                remote.get(name)

    def test_many_threads_at_once(self, remote: Remote) -> None:
        """Concurrent puts of the same and of different objects, beside listings, all succeed."""
        objects = dict(leaf_of(str(i).encode() * 500) for i in range(24))
        with ThreadPoolExecutor(8) as pool:
            puts = [pool.submit(remote.put, name, data) for _ in range(2) for name, data in objects.items()]
            listings = [pool.submit(lambda: set(remote.names("leaf/"))) for _ in range(4)]
            for put in puts:
                put.result()
            assert all(listing.result() <= set(objects) for listing in listings)
        assert {name: remote.get(name) for name in remote.names("")} == objects
