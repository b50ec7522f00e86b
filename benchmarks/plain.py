"""The floor of a resolve: reads the same leaves in the same order, hashes them, writes as much; computes nothing.

`python -m benchmarks.plain list REPLICA STRATEGY` prints what a resolve reads, as JSON; `run` does it.
"""

import hashlib
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LEAF_BYTES = 4 << 20
PIECE_BYTES = 1 << 20

Job = tuple[int, list[str]]
"""Where the result goes in the output, and the leaf of each input."""


def jobs(replica: str, strategy: str) -> list[Job]:
    """The leaves that each leaf of the output is made of."""
    from conjoin.replica import Replica
    from conjoin.wire.objects import leaf_name

    found: list[Job] = []
    offset = 0
    with Replica.open(replica) as opened:
        root = Path(replica) / ".conjoin"
        for task in opened.plan(opened.recipe(strategy)).tasks:
            for leaves in zip(*task.reads, strict=True):
                paths = [str(root / leaf_name(leaf)) for leaf in leaves]
                found.append((offset, paths))
                offset += os.stat(paths[0]).st_size
    return found


def move(work: list[Job], out: Path, *, hashed: bool) -> None:
    """Do the jobs on all cores: every input hashed where `hashed`, the output always, one fsync."""
    descriptor = os.open(out, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    last, paths = work[-1]
    os.posix_fallocate(descriptor, 0, last + os.stat(paths[0]).st_size)
    local = threading.local()

    def one(job: Job) -> None:
        buffer: memoryview = local.__dict__.setdefault("buffer", memoryview(bytearray(LEAF_BYTES)))
        offset, leaves = job
        size = 0
        for leaf in leaves:
            size = _read(leaf, buffer, hashed=hashed)
        hashlib.sha256(buffer[:size]).digest()
        assert os.pwrite(descriptor, buffer[:size], offset) == size

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in pool.map(one, work):
            pass
    os.fsync(descriptor)
    os.close(descriptor)


def _read(path: str, into: memoryview, *, hashed: bool) -> int:
    """Read a file in pieces that stay in the cache until they are hashed; returns its size."""
    state = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY)
    done = 0
    while count := os.preadv(descriptor, [into[done : done + PIECE_BYTES]], done):
        if hashed:
            state.update(into[done : done + count])
        done += count
        if done == len(into):
            break
    os.close(descriptor)
    return done


if __name__ == "__main__":
    if sys.argv[1] == "list":
        json.dump(jobs(sys.argv[2], sys.argv[3]), sys.stdout)
    else:
        move(json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3]), hashed=sys.argv[4] == "hashed")
