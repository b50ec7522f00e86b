"""Every store passes the store suite."""

from pathlib import Path

import pytest

from conjoin.store.base import Store
from conjoin.store.folder import FolderStore
from conjoin.store.inplace import References, ReplicaStore
from conjoin.store.memory import MemoryStore
from conjoin.testing.store_suite import StoreSuite


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()

    def overwrite(self, store: Store, name: str, data: bytes) -> None:
        store._objects[name] = data


class TestFolderStore(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return FolderStore(tmp_path / "place")

    def overwrite(self, store: Store, name: str, data: bytes) -> None:
        (store.root / name).write_bytes(data)


class TestFolderStoreAmongForeignFiles(TestFolderStore):
    """What file managers, version control and mistakes leave in a shared folder changes nothing."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        for name in (".DS_Store", "leaf/.DS_Store", "leaf/ab/Thumbs.db", "ops/README", f"manifest/{'g' * 64}", "x/y/z"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"foreign")
        (tmp_path / "manifest" / ("c" * 64)).mkdir()
        (tmp_path / "manifest" / ("d" * 64)).symlink_to("/etc/hostname")
        return FolderStore(tmp_path)


class TestReplicaStore(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        home = tmp_path / ".conjoin"
        return ReplicaStore(home, home / "local" / "tmp", References(home / "local" / "inplace"))

    def overwrite(self, store: Store, name: str, data: bytes) -> None:
        (store.root / name).write_bytes(data)
