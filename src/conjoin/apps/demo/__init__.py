"""`conjoin demo`: real merges in seconds, told as stories; uses the public interfaces and shipped files only."""

from conjoin.apps.demo.story import Story, run

__all__ = ["Story", "run"]
