"""The directory a replica lives in: how it is found, founded whole or not at all, configured. Reads no operation."""

import os
import shutil
from collections.abc import Container, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from conjoin.errors import ConjoinError, DamagedObjectError, NoReplicaError, ReplicaExistsError
from conjoin.store.files import sync_directory, translated_os_errors, write_durably
from conjoin.store.inplace import References, ReplicaStore
from conjoin.store.instance import create_instance
from conjoin.store.lock import ReplicaLock
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, is_digest

HOME = ".conjoin"
CONFIG_FORMAT = "conjoin/replica/1"
HINT_MAKE = "`conjoin init DIR --base CHECKPOINT` makes a replica; `-C DIR` names one"
HINT_RESUME = "run the same `conjoin clone` again: it goes on where it stopped, with the same key"


class Home:
    """A replica's own folder: immutable objects, and under `local/` what never leaves it.

    `keep` is of one that is being built: see `new_home`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.local = path / "local"
        self.instance = self.local / "instance"
        self.lock = self.local / "lock"
        self.key = self.local / "key"
        self.key_use = self.local / "key-use"
        self.running = self.local / "running"
        self.reading = self.local / "reading"
        self.dialling = self.local / "dialling"
        self.peers = self.local / "peers.json"
        self.resuming = self.local / "resuming"
        self.keep = False

    @classmethod
    def of(cls, directory: Path) -> "Home":
        """The home in a replica directory.

        Raises:
            NoReplicaError: there is none.
        """
        if not is_replica(directory):
            _refuse_unfinished(directory)
            raise NoReplicaError("there is no replica here", where=str(directory), hint=HINT_MAKE)
        return cls(directory / HOME)

    def open_store(self) -> ReplicaStore:
        """The content kept here."""
        return ReplicaStore(self.path, self.local / "tmp", References(self.local / "inplace"))

    def size_bytes(self) -> int:
        """Size of all files here, whether or not others are writing meanwhile."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with suppress(FileNotFoundError):  # an unfinished file that has its name by now
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total

    def write_config(self, space: Digest, key: Path | None) -> None:
        """Note the space and where the private key lies; None is this folder's own key."""
        value = {"format": CONFIG_FORMAT, "key": str(key.absolute()) if key else "", "space": space}
        with translated_os_errors(self.local):
            write_durably(self.local, self.local / "config.json", canonical.encode(value))
            sync_directory(self.local)

    def change_key(self, new: Path, space: Digest, old: str | None) -> None:
        """Make the key file `new`, in `local/`, this folder's own key; an own key that it replaces is kept beside it.

        Args:
            new: a durable key file.
            space: as in the configuration.
            old: the public key that is replaced, if it could be read.
        """
        _, before = self.read_config()
        with translated_os_errors(self.local):
            if old is not None and before == self.key:
                with suppress(FileExistsError):
                    os.link(self.key, self.kept_key(old))
            os.replace(new, self.key)
            sync_directory(self.local)
        if before != self.key:
            self.write_config(space, None)

    def kept_key(self, public: str) -> Path:
        """Where a key is kept that this folder had before."""
        return self.local / f"key-{public}"

    def kept_keys(self) -> list[Path]:
        """The key files that this folder had before, the latest first."""
        found = [path for path in self.local.glob("key-*") if is_digest(path.name.removeprefix("key-"))]
        return sorted(found, key=lambda path: path.stat().st_ctime_ns, reverse=True)

    def read_config(self) -> tuple[Digest, Path]:
        """The space and the path of the private key.

        Raises:
            DamagedObjectError: the configuration is not of this version.
        """
        path = self.local / "config.json"
        with suppress(ConjoinError, OSError):
            value = canonical.decode(path.read_bytes(), "the replica's configuration")
            if (
                isinstance(value, dict)
                and set(value) == {"format", "key", "space"}
                and value["format"] == CONFIG_FORMAT
                and isinstance(value["key"], str)
                and is_digest(value["space"])
            ):
                return Digest(value["space"]), Path(value["key"]) if value["key"] else self.key
        raise DamagedObjectError(
            "the replica's configuration is damaged or of another version",
            where=str(path),
            hint="clone the space again; the contributions in this directory stay valid",
        )


def is_replica(directory: Path) -> bool:
    """Whether `directory` holds a replica."""
    return (directory / HOME / "local" / "config.json").is_file()


def find_replica(start: Path) -> Path:
    """The nearest directory from `start` upward that holds a replica.

    Raises:
        NoReplicaError: none does.
    """
    for folder in (start, *start.parents):
        if is_replica(folder):
            return folder
    _refuse_unfinished(start)
    raise NoReplicaError("there is no replica here or in any directory above", where=str(start), hint=HINT_MAKE)


@contextmanager
def new_home(directory: Path, resuming: str = "") -> Generator[Home]:
    """Build a home beside its final name and move it into place at the end.

    Args:
        directory: of the new replica.
        resuming: what the home will be of, where its key may be known to others, or its leaves came from others, before
            it is whole. Both are found here again by the next attempt for the same, if `keep` of the home was set or
            the process was killed; an attempt for something else leaves them as they are. Otherwise an error leaves
            nothing behind, and what a killed process left is cleared.

    Raises:
        ReplicaExistsError: the directory holds a replica already, or the beginning of another one, or is a file.
        LockedError: another process is building one here.
        StoreError: the directory cannot be written.
    """
    if directory.exists() and not directory.is_dir():
        raise ReplicaExistsError("the path is a file", where=str(directory), hint="choose another directory")
    home, existed = Home(directory / f"{HOME}-new"), directory.exists()
    _refuse_replica(directory)
    with translated_os_errors(directory):
        home.local.mkdir(parents=True, exist_ok=True)
        with ReplicaLock(home.lock):  # of two that build here at once, one is told so
            try:
                _refuse_replica(directory)
                resumed = _resumed(home, resuming)
                _clear(home, {home.lock, home.resuming, home.key, home.path / "leaf"} if resumed else {home.lock})
                for name in ("local/tmp", "local/inplace", "ops", "manifest", "leaf"):
                    (home.path / name).mkdir(exist_ok=True)
                home.keep = resumed
                if resuming and not resumed:
                    home.resuming.write_text(resuming, "utf-8")
                yield home
                home.resuming.unlink(missing_ok=True)
                create_instance(home.instance)
                _sync_directory(home.path)
                home.path.rename(directory / HOME)
                _sync_directory(directory)
                if not existed:
                    _sync_directory(directory.parent)
            except BaseException:
                if not home.keep:
                    shutil.rmtree(home.path, ignore_errors=True)
                    if not existed:
                        with suppress(OSError):
                            directory.rmdir()
                raise


def _resumed(home: Home, resuming: str) -> bool:
    """Whether what lies in an unfinished home is of `resuming`; what is of something else is left as it is."""
    begun = home.resuming.read_text("utf-8") if home.resuming.is_file() else ""
    if begun not in ("", resuming):
        home.keep = True
        raise ReplicaExistsError(
            "here lies another clone that was broken off, with a key that may be let in there by now",
            where=str(home.path),
            hint=f"{HINT_RESUME}; or choose another directory; or remove that one",
        )
    return begun != ""


def _refuse_unfinished(directory: Path) -> None:
    if Home(directory / f"{HOME}-new").resuming.is_file():
        raise NoReplicaError(
            "there is no replica here yet, only a clone that was broken off, or that still runs",
            where=str(directory),
            hint=HINT_RESUME,
        )


def _refuse_replica(directory: Path) -> None:
    if (directory / HOME).exists():
        raise ReplicaExistsError(
            "there is a replica here already",
            where=str(directory / HOME),
            hint=f"choose another directory; what this one lacks comes by `conjoin -C {directory} sync SOURCE`",
        )


def _clear(home: Home, kept: Container[Path]) -> None:
    """Remove everything in an unfinished home but what is `kept`."""
    for child in (*home.path.iterdir(), *home.local.iterdir()):
        if child.is_dir() and child != home.local and child not in kept:
            shutil.rmtree(child)
        elif child.is_file() and child not in kept:
            child.unlink()


def _sync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
