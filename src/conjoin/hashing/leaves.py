"""Leaves: many leaves hashed side by side, each read just before; how that is done cannot be seen in a digest."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conjoin.hashing.machine import BLOCK_BYTES, INITIAL, LANES, Compress, compression
from conjoin.wire.digest import Digest, LeafHasher, leaf_digest

Fill = Callable[[int, int, int], None]
"""Called with (leaf, start, stop) before bytes start to stop of that leaf are hashed; ranges follow one another."""

PIECE_BYTES = 512 * 1024
"""How much of a leaf is read and hashed at a time where leaves go one by one: it stays in a core's own cache."""
LANE_PIECE_BYTES = 256 * 1024
"""The same where sixteen are hashed at once."""
WIDE_BYTES_MIN = 256 * 1024 * 1024
"""From this much hashing on it is worth making the machine code (an eighth of a CPU-second); later it is kept."""
SHORT_BYTES = 16 * 1024
"""Shorter leaves are hashed one by one."""
_TRIAL_BYTES = 64 * 1024
_GAIN_MIN = 1.2
_ONE_LANE = 8
"""A byte of each lane costs as much as this many bytes hashed one by one, however many lanes have a message."""

_wide: list[Compress | None] = []


def expect(size_bytes: int) -> None:
    """Say how much is going to be hashed in this process, so that the faster arithmetic is made where that pays."""
    if size_bytes >= WIDE_BYTES_MIN and not _wide:
        _wide.append(_proven(compression()))


def width() -> int:
    """How many leaves are hashed at once: fewer leaves than that go slower."""
    return LANES if _wide and _wide[0] else 1


def leaf_digests(leaves: Sequence[memoryview], fill: Fill | None = None) -> list[Digest]:
    """The digests of leaves, equal to `wire.digest.leaf_digest` of each.

    Args:
        leaves: their bytes, contiguous.
        fill: puts the bytes there just before they are hashed, in pieces that a core's cache holds.
    """
    found: list[Digest] = [Digest("")] * len(leaves)
    fill = fill or _filled
    compress = _wide[0] if _wide else None
    order = sorted(range(len(leaves)), key=lambda index: -len(leaves[index]))
    apart = len(order) if compress is None else _apart([len(leaves[index]) for index in order])
    for index in order[:apart]:
        found[index] = _one(leaves[index], index, fill)
    together = [index for index in order[apart:] if len(leaves[index]) >= SHORT_BYTES]
    if compress is not None and together:
        _Together(compress, fill).run([_Message(index, leaves[index]) for index in together], found)
    for index in order[apart + len(together) :]:
        found[index] = _one(leaves[index], index, fill)
    return found


def _filled(leaf: int, start: int, stop: int) -> None:
    """The bytes are there already."""


def _one(data: memoryview, index: int, fill: Fill) -> Digest:
    hasher = LeafHasher()
    for start in range(0, len(data), PIECE_BYTES):
        stop = min(start + PIECE_BYTES, len(data))
        fill(index, start, stop)
        hasher.update(data[start:stop])
    return hasher.digest()


def _apart(sizes: Sequence[int]) -> int:
    """How many of the largest leaves (sizes descend) to hash one by one, so that the lanes are not kept for a few."""
    rest, alone, best, least = sum(sizes), 0, 0, float("inf")
    for count, size in enumerate([*sizes, 0]):
        cost = alone + _ONE_LANE * max(size, rest / LANES)
        if cost < least:
            best, least = count, cost
        alone, rest = alone + size, rest - size
    return best


class _Message:
    """One leaf on its way: the blocks of 0x00 ‖ data ‖ padding, of which only the first and the last are copied."""

    __slots__ = ("block", "blocks", "data", "edge", "edges", "filled", "index", "place", "size", "whole")

    def __init__(self, index: int, data: memoryview) -> None:
        self.index = index
        self.data = data
        self.size = len(data)
        self.place = np.frombuffer(data, np.uint8).ctypes.data
        self.whole = (self.size + 1) // BLOCK_BYTES
        self.blocks = (self.size + 1 + 9 + BLOCK_BYTES - 1) // BLOCK_BYTES
        self.block = 0
        self.filled = 0
        self.edges = np.zeros(3 * BLOCK_BYTES, np.uint8)
        self.edge = self.edges.ctypes.data

    def run(self) -> tuple[int, int]:
        """Where the next blocks are, and how many stand there one after another."""
        if self.block == 0:
            return self.edge, 1
        if self.block < self.whole:
            return self.place + BLOCK_BYTES * self.block - 1, self.whole - self.block
        return self.edge + BLOCK_BYTES * (1 + self.block - self.whole), self.blocks - self.block

    def need(self, blocks: int, fill: Fill) -> None:
        """Have the data of the next blocks there; the copied ones are made."""
        end = min(self.size, BLOCK_BYTES * (self.block + blocks) - 1) if self.block < self.whole else self.size
        if end > self.filled:
            end = min(self.size, -(-end // LANE_PIECE_BYTES) * LANE_PIECE_BYTES)
            fill(self.index, self.filled, end)
            self.filled = end
        if self.block == 0:
            self.edges[1:BLOCK_BYTES] = np.frombuffer(self.data[: BLOCK_BYTES - 1], np.uint8)
        elif self.block == self.whole:
            self._pad()

    def _pad(self) -> None:
        left = self.data[BLOCK_BYTES * self.whole - 1 :]
        end = BLOCK_BYTES * (1 + self.blocks - self.whole)
        self.edges[BLOCK_BYTES : BLOCK_BYTES + len(left)] = np.frombuffer(left, np.uint8)
        self.edges[BLOCK_BYTES + len(left)] = 0x80
        bits = 8 * (self.size + 1)
        self.edges[end - 8 : end] = np.frombuffer(bits.to_bytes(8, "big"), np.uint8)


@dataclass
class _Together:
    """Sixteen lanes; a lane whose message ends takes the next one."""

    compress: Compress
    fill: Fill

    def run(self, messages: Sequence[_Message], found: list[Digest]) -> None:
        """Hash the messages, the first ones first."""
        state: npt.NDArray[np.uint32] = np.zeros((8, LANES), np.uint32)
        addresses = np.zeros(LANES, np.uint64)
        where = state.ctypes.data, addresses.ctypes.data
        waiting = iter(messages)
        lanes: dict[int, _Message] = {}
        for lane in range(LANES):
            self._begin(lanes, lane, waiting, state)
        while lanes:
            runs = {lane: message.run() for lane, message in lanes.items()}
            count = min(LANE_PIECE_BYTES // BLOCK_BYTES, *(blocks for _, blocks in runs.values()))
            addresses[:] = next(iter(runs.values()))[0]  # an idle lane repeats another's data
            for lane, (address, _) in runs.items():
                lanes[lane].need(count, self.fill)
                addresses[lane] = address
            self.compress(*where, count)
            for lane, message in list(lanes.items()):
                message.block += count
                if message.block == message.blocks:
                    found[message.index] = Digest(state[:, lane].astype(">u4").tobytes().hex())
                    self._begin(lanes, lane, waiting, state)

    @staticmethod
    def _begin(
        lanes: dict[int, _Message], lane: int, waiting: Iterator[_Message], state: npt.NDArray[np.uint32]
    ) -> None:
        message = next(waiting, None)
        if message is None:
            lanes.pop(lane, None)
            return
        lanes[lane] = message
        state[:, lane] = INITIAL


def _proven(compress: Compress | None) -> Compress | None:
    """The machine code if it gives hashlib's digests and is faster here, else None."""
    if compress is None:
        return None
    text = bytes(range(251)) * (LANES * _TRIAL_BYTES // 251 + 1)
    sizes = [SHORT_BYTES + 61 * number for number in range(LANES + 5)] + [LANE_PIECE_BYTES + 63]
    leaves = [memoryview(text)[number : number + size] for number, size in enumerate(sizes)]
    found: list[Digest] = [Digest("")] * len(leaves)
    _Together(compress, _filled).run([_Message(index, leaf) for index, leaf in enumerate(leaves)], found)
    if found != [leaf_digest(leaf) for leaf in leaves]:
        return None
    state = np.zeros((8, LANES), np.uint32)
    places = np.frombuffer(text, np.uint8).ctypes.data + np.arange(LANES, dtype=np.uint64) * np.uint64(_TRIAL_BYTES)
    where = state.ctypes.data, places.ctypes.data
    fast = _least_time(lambda: compress(*where, _TRIAL_BYTES // BLOCK_BYTES))
    slow = _least_time(lambda: leaf_digest(memoryview(text)[: LANES * _TRIAL_BYTES]))
    return compress if fast * _GAIN_MIN < slow else None


def _least_time(work: Callable[[], object]) -> float:
    """CPU-seconds of the quickest of three runs."""
    times: list[float] = []
    for _ in range(3):
        before = time.thread_time()
        work()
        times.append(time.thread_time() - before)
    return min(times)
