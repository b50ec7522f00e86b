"""The command line. Importing it loads no room and no parser; a command imports what it needs when it runs."""

from conjoin.apps.cli.entry import main, run

__all__ = ["main", "run"]
