"""Where a process of the command line begins and ends; loads the commands only once it can answer an interruption."""

import sys
from collections.abc import Sequence

from conjoin.apps.cli.failure import interrupted


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; everything it prints is flushed."""
    try:
        from conjoin.apps.cli.app import run as begin

        return begin(arguments)
    except KeyboardInterrupt:
        return interrupted()


def main() -> None:
    """The entry point of the `conjoin` script."""
    sys.exit(run(sys.argv[1:]))
