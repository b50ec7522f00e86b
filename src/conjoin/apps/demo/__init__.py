"""`conjoin demo`: a real merge in seconds, told as a story; uses the public API and shipped files only."""

from conjoin.apps.demo.story import Story, run

__all__ = ["Story", "run"]
