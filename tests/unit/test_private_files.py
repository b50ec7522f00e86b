"""Private files of connections: made whole, once, for their owner only."""

import os
import threading
from pathlib import Path

import pytest

from conjoin.errors import KeyFileError
from conjoin.sync.peers.private import provide_private


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert provide_private(path, lambda: b"first", "the key") == b"first"
    assert provide_private(path, lambda: b"second", "the key") == b"first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["key"]


def test_nothing_has_the_name_before_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"

    def cut_off(_: int) -> None:
        assert not path.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", cut_off)
    with pytest.raises(KeyboardInterrupt):
        provide_private(path, lambda: b"half", "the key")
    assert os.listdir(tmp_path) == []


def test_all_who_make_it_at_once_get_the_same(tmp_path: Path) -> None:
    found: list[bytes] = []
    ready = threading.Barrier(8)

    def provide(number: int) -> None:
        ready.wait()
        found.append(provide_private(tmp_path / "key", lambda: b"%d" % number, "the key"))

    threads = [threading.Thread(target=provide, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert os.listdir(tmp_path) == ["key"]


def test_what_is_no_file_or_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError):
        provide_private(tmp_path / "key", lambda: b"made", "the key")
    (tmp_path / "open").write_bytes(b"made")
    (tmp_path / "open").chmod(0o644)
    with pytest.raises(KeyFileError, match="others"):
        provide_private(tmp_path / "open", lambda: b"made", "the key")
