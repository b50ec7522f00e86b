"""Runs the command line in a forked child that dies by SIGKILL at its N-th change to the file system."""

import os
import signal
import sys
import threading
from collections.abc import Sequence

# Loaded before the fork, so that a child starts at once.
import conjoin.executor
import conjoin.kernels.compiled.handover
import conjoin.replica  # noqa: F401
from conjoin.apps.cli import run

POINTS = ("write", "pwrite", "pwritev", "writev", "fsync", "fdatasync", "rename", "replace", "link", "unlink", "mkdir",
          "rmdir", "ftruncate", "truncate", "posix_fallocate", "copy_file_range", "sendfile")  # fmt: skip
_TORN = ("write", "pwrite")
_SKIPPED_DESCRIPTORS = (1, 2)


def warm_up(replica: str) -> None:
    """Run one command here, so that the children need not load what every command loads."""
    assert run(["-C", replica, "status"]) == 0


def run_mortal(arguments: Sequence[str], *, die_at: int | None) -> tuple[int | None, int]:
    """Run `conjoin ARGUMENTS` in a child that dies at change number `die_at` (1-based; None lets it live).

    A write dies half-way: the first half of its bytes reach the file. Everything else dies just before it happens.

    Returns:
        The exit status, or None when the child was killed; and the number of changes it had made.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _live(arguments, die_at, writing)
    os.close(writing)
    report = b""
    while piece := os.read(reading, 1 << 16):
        report += piece
    os.close(reading)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return (None if killed else os.waitstatus_to_exitcode(status)), len(report)


def _live(arguments: Sequence[str], die_at: int | None, report: int) -> None:
    sys.settrace(None)  # coverage is for the tests that live
    threading.settrace(None)
    real = {name: getattr(os, name) for name in POINTS}
    lock, count = threading.Lock(), 0

    def point(name: str):
        def wrapped(*args, **kwargs):
            nonlocal count
            if name == "write" and args[0] in (report, *_SKIPPED_DESCRIPTORS):
                return real[name](*args, **kwargs)
            with lock:
                count += 1
                real["write"](report, b".")
                if count == die_at:
                    if name in _TORN:
                        half = bytes(args[1])[: len(args[1]) // 2]
                        real[name](args[0], half, *args[2:])
                    os.kill(os.getpid(), signal.SIGKILL)
            return real[name](*args, **kwargs)

        return wrapped

    for name in POINTS:
        setattr(os, name, point(name))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    status = 70
    try:
        status = run(arguments)
    finally:
        os._exit(status)
