"""Fitters: which strategies `conjoin fit` makes an asset for, with which options; loads none of what they need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conjoin.errors import UsageError
from conjoin.progress import SILENT, Progress
from conjoin.strategies.base import find_strategy

if TYPE_CHECKING:
    from conjoin.replica import Replica
    from conjoin.wire.asset import Asset


@dataclass(frozen=True, slots=True)
class Request:
    """What a fitter is asked for.

    Attributes:
        replica: whose visible set is merged.
        strategy: name of the strategy.
        params: its parameters as a user gives them, `asset` not among them.
        options: the fitter's own options that were given, by name.
        progress: told about the work; bytes stand for its steps.
    """

    replica: "Replica"
    strategy: str
    params: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = SILENT


@dataclass(frozen=True, slots=True)
class Fitter:
    """One entry of the table.

    Attributes:
        name: the strategy it makes assets for.
        options: names of the options it takes, as on the command line but with `_`.
        run: makes the asset.
        required: those of the options without which it does not start.
    """

    name: str
    options: tuple[str, ...]
    run: "Callable[[Request], Asset]"
    required: tuple[str, ...] = ()


def _search(request: Request) -> "Asset":
    from conjoin.fitting.searching import fit

    return fit(request)


def _learn(request: Request) -> "Asset":
    from conjoin.fitting.learning.requests import fit

    return fit(request)


_LEARN = ("data", "head", "model", "steps", "batch", "rate", "seed")
_SEARCH = ("evaluator", "evaluations", "population", "group", "timeout", "data")

FITTERS: dict[str, Fitter] = {
    one.name: one
    for one in (
        Fitter("ada_merging", (*_LEARN, "task_wise"), _learn),
        Fitter("adarank", (*_LEARN, "initial"), _learn),
        Fitter("dam", _LEARN, _learn),
        Fitter("evolutionary_merge", _SEARCH, _search, required=("evaluator",)),
        Fitter("genetic_merge", _SEARCH, _search, required=("evaluator",)),
        Fitter("representation_surgery", (*_LEARN, "rank", "features_of"), _learn),
    )
}
"""Every fitter by the name of its strategy."""


def fit(request: Request) -> "Asset":
    """Learn or search what a strategy applies, for what is visible in a replica.

    Raises:
        UnknownStrategyError: there is no such strategy.
        UsageError: there is nothing to fit for it, or it takes no such option, or one that it needs is missing.
    """
    fitter = FITTERS.get(request.strategy)
    if fitter is None:
        find_strategy(request.strategy)
        raise UsageError(
            f"there is nothing to fit for {request.strategy}: it needs no asset",
            hint=f"`conjoin resolve {request.strategy}`; `conjoin fit` is for {', '.join(sorted(FITTERS))}",
        )
    takes = ", ".join(map(_spelt, fitter.options))
    for name in request.options:
        if name not in fitter.options:
            raise UsageError(f"fit {fitter.name} takes no {_spelt(name)}", hint=f"it takes {takes}")
    for name in fitter.required:
        if not request.options.get(name):
            raise UsageError(f"fit {fitter.name} needs {_spelt(name)}", hint=f"it takes {takes}")
    with request.replica.reading():
        return fitter.run(request)


def write(asset: "Asset", out: Path) -> None:
    """Write an asset as a file, which appears whole or not at all.

    Raises:
        OutputExistsError, MissingFileError: something is at `out`, or its folder is not there.
        StoreError: it cannot be written.
    """
    from conjoin.fitting.statistics import require_absent
    from conjoin.store.files import sync_directory, translated_os_errors, write_durably

    require_absent(out)
    with translated_os_errors(out):
        write_durably(out.parent, out, asset.encode())
        sync_directory(out.parent)


def _spelt(option: str) -> str:
    return "--" + option.replace("_", "-")
