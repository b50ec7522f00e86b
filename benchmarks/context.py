"""What every part of the benchmark is told: where it may write, how thorough to be, and which peers there are."""

import importlib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Part


@dataclass(frozen=True)
class Context:
    """Settings of one run.

    Attributes:
        scratch: an empty folder of the part's own, deleted afterwards.
        quick: small models and few repetitions.
        runs: counted repetitions of a command.
        peer_runs: the same for mergekit.
        tools: `bin` of the environment with mergekit and crdt-merge; None leaves them out.
    """

    scratch: Path
    quick: bool
    runs: int
    peer_runs: int
    tools: Path | None


def run_part(name: str, context: Context) -> Part:
    """Run `measure` of the module that is the part."""
    return importlib.import_module(f"benchmarks.{name}").measure(context)
