"""Hashing: the digests of `hashlib` whatever does it, and every byte read before it is hashed."""

import hashlib
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conjoin import hashing
from conjoin.hashing import kept, machine
from conjoin.hashing import leaves as room
from conjoin.hashing.machine import compression
from conjoin.wire.digest import LEAF_BYTES, leaf_digest

SIZES = [0, 1, 62, 63, 64, 16_383, 16_384, 16_446, 16_447, 16_448, 70_000, 300_001, LEAF_BYTES - 1, LEAF_BYTES]


@pytest.fixture(params=["one by one", "side by side"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Each way to hash that this machine has."""
    wide = None if request.param == "one by one" else compression()
    if wide is None and request.param == "side by side":
        pytest.skip("this processor lacks the instructions")
    monkeypatch.setattr(room, "_wide", [wide])
    yield hashing.width()


def contents(seed: int, count: int) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(chance.choice(SIZES)) for _ in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 40])
def test_digests_are_those_of_hashlib(arithmetic: int, count: int) -> None:
    leaves = contents(count, count)
    expected = [hashlib.sha256(b"\0" + leaf).hexdigest() for leaf in leaves]
    assert hashing.leaf_digests([memoryview(leaf) for leaf in leaves]) == expected


@pytest.mark.parametrize("size", SIZES)
def test_equal_lengths_of_every_kind(arithmetic: int, size: int) -> None:
    leaves = [random.Random(number).randbytes(size) for number in range(17)]
    assert hashing.leaf_digests([memoryview(leaf) for leaf in leaves]) == [leaf_digest(leaf) for leaf in leaves]


def test_bytes_are_filled_in_order_and_before_they_are_hashed(arithmetic: int) -> None:
    leaves = contents(7, 25)
    buffers = [bytearray(b"\xff" * len(leaf)) for leaf in leaves]
    filled = [0] * len(leaves)

    def fill(leaf: int, start: int, stop: int) -> None:
        assert start == filled[leaf] < stop
        buffers[leaf][start:stop] = leaves[leaf][start:stop]
        filled[leaf] = stop

    assert hashing.leaf_digests([memoryview(b) for b in buffers], fill) == [leaf_digest(leaf) for leaf in leaves]
    assert filled == [len(leaf) for leaf in leaves]


def test_what_fill_raises_comes_out(arithmetic: int) -> None:
    def fill(leaf: int, start: int, stop: int) -> None:
        raise BlockingIOError

    with pytest.raises(BlockingIOError):
        hashing.leaf_digests([memoryview(bytearray(100_000)) for _ in range(20)], fill)


def test_little_work_makes_no_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_wide", [])
    monkeypatch.setattr(room, "compression", lambda: pytest.fail("made"))
    hashing.expect(room.WIDE_BYTES_MIN - 1)
    assert hashing.width() == 1


@pytest.mark.parametrize("fault", ["wrong", "slow", "absent"])
def test_machine_code_that_is_wrong_or_slow_is_not_used(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def compress(state: int, data: int, blocks: int) -> None:
        pass

    monkeypatch.setattr(room, "_wide", [])
    if fault == "slow":
        if compression() is None:
            pytest.skip("this processor lacks the instructions")
        monkeypatch.setattr(room, "_GAIN_MIN", 1e9)
    else:
        monkeypatch.setattr(room, "compression", lambda: compress if fault == "wrong" else None)
    hashing.expect(room.WIDE_BYTES_MIN)
    assert hashing.width() == 1
    assert hashing.leaf_digests([memoryview(b"abc")]) == [leaf_digest(b"abc")]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], int]:
    """Has machine code as a new process would, with an own folder to keep it in; how often it had to be made."""
    if compression() is None:
        pytest.skip("this processor lacks the instructions")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    times: list[str] = []

    def keep(name: str, stamp: str, code: bytes) -> None:
        times.append(stamp)
        kept.keep(name, stamp, code)

    def begin() -> int:
        times.clear()
        compress = compression.__wrapped__()
        monkeypatch.setattr(room, "_wide", [compress])
        assert hashing.width() == machine.LANES
        leaves = [random.Random(number).randbytes(room.SHORT_BYTES + number) for number in range(20)]
        assert hashing.leaf_digests([memoryview(leaf) for leaf in leaves]) == [leaf_digest(leaf) for leaf in leaves]
        return len(times)

    monkeypatch.setattr(machine, "keep", keep)
    return begin


def test_machine_code_is_made_once(made: Callable[[], int], tmp_path: Path) -> None:
    assert [made(), made(), made()] == [1, 0, 0]
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "another"])
def test_damaged_machine_code_is_made_again(damage: str, made: Callable[[], int], tmp_path: Path) -> None:
    assert made() == 1
    (path,) = (tmp_path / "kept").iterdir()
    whole = path.read_bytes()
    flipped = bytes([*whole[:-9], whole[-9] ^ 1, *whole[-8:]])
    path.write_bytes({"empty": b"", "cut": whole[:-1], "flipped": flipped, "another": whole * 2}[damage])
    assert [made(), made()] == [1, 0]
    assert path.read_bytes() == whole


def test_machine_code_of_another_processor_is_not_taken(
    made: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llvmlite import binding

    assert made() == 1
    with monkeypatch.context() as other:
        other.setattr(binding, "get_host_cpu_name", lambda: "another")
        assert [made(), made()] == [1, 0]
    assert made() == 0


def test_machine_code_that_cannot_be_kept_is_made_every_time(made: Callable[[], int], tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file, so that nothing can be written there, not even by root")
    assert [made(), made()] == [1, 1]


def test_machine_code_is_kept_in_the_first_folder_that_takes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    beside = tmp_path / "beside"
    beside.write_text("not a folder")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "cache_from_source", lambda _: str(beside / "kept.pyc"))
    assert kept.recall("name", "stamp") is None
    kept.keep("name", "stamp", b"code")
    assert kept.recall("name", "stamp") == b"code"
    assert kept.recall("name", "other stamp") is None
    assert [path.parent for path in tmp_path.rglob("*.o")] == [tmp_path / "cache" / "conjoin"]


def test_a_few_large_leaves_do_not_keep_the_lanes() -> None:
    assert room._apart([4 << 20] * 16) == 0
    assert room._apart([4 << 20] * 4) == 4
    assert room._apart([4 << 20] + [1 << 18] * 64) == 1


def test_the_constants_are_those_of_the_standard() -> None:
    from conjoin.hashing.machine import CONSTANTS, INITIAL

    def primes() -> Iterator[int]:
        found: list[int] = []
        number = 2
        while True:
            if all(number % prime for prime in found):
                found.append(number)
                yield number
            number += 1

    def fraction(prime: int, root: int) -> int:
        low, high, scaled = 0, 1 << 40, prime << (32 * root)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**root <= scaled else (low, middle - 1)
        return low & 0xFFFF_FFFF

    first = [prime for prime, _ in zip(primes(), range(64), strict=False)]
    assert tuple(fraction(prime, 3) for prime in first) == CONSTANTS
    assert tuple(fraction(prime, 2) for prime in first[:8]) == INITIAL
    assert struct.pack(">8I", *INITIAL).hex().startswith("6a09e667")
