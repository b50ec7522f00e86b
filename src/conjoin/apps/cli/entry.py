"""Where a process of the command line begins and ends; loads the commands only once it can answer an interruption."""

import gc
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from conjoin.apps.cli.failure import interrupted


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; everything it prints is flushed."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character gets a question mark
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        from conjoin.apps.cli.app import run as begin

        return begin(arguments)
    except KeyboardInterrupt:
        return interrupted(as_json="--json" in arguments)


def main() -> None:
    """The entry point of the `conjoin` script."""
    # NumPy's BLAS is never called, and its idle threads would cost a tenth of a CPU-second at every start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Modules and plans are many objects that stay; looking for cycles among them costs a tenth of a start, and as much
    # again at the end, when the process gives back its memory anyway.
    gc.set_threshold(300_000, 20, 20)
    status = run(sys.argv[1:])
    gc.freeze()
    sys.exit(status)
