"""A founder with a member, made once and copied for each test; no proxies of the environment."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conjoin.replica import Replica
from tests.peers.world import member_of, write_model

MEMORY, MEMORY_BYTES_MIN = Path("/dev/shm"), 2_000_000_000


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one with room: what is tested is not the disk."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES_MIN
    with tempfile.TemporaryDirectory(prefix="conjoin-peers-", dir=MEMORY if roomy else None) as name:
        yield Path(name)


@pytest.fixture
def founder(folder: Path) -> Path:
    Replica.init(folder / "founder", write_model(folder / "base.safetensors", 0, tensors=60)).close()
    return folder / "founder"


@pytest.fixture
def member(founder: Path, folder: Path) -> Path:
    return member_of(founder, folder / "member")
