"""The command line. Importing it loads neither numpy nor any room; a command imports what it needs when it runs."""

from conjoin.apps.cli.app import main, run

__all__ = ["main", "run"]
