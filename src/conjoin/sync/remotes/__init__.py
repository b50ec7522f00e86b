"""Places to sync with; each is a dumb holder of objects that may lie, and none decides what is true."""

from conjoin.sync.remotes.base import Remote
from conjoin.sync.remotes.folder import FolderRemote
from conjoin.sync.remotes.memory import MemoryRemote
from conjoin.sync.remotes.open import open_remote
from conjoin.sync.remotes.replica import ReplicaRemote, StoreRemote

__all__ = ["FolderRemote", "MemoryRemote", "Remote", "ReplicaRemote", "StoreRemote", "open_remote"]
