"""Searching: a search over genomes on arrays in memory or on a replica; its asset holds the winner and every trial."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conjoin.errors import BadParameterError, MissingFileError, NothingVisibleError
from conjoin.fitting.candidates import InMemory, OnDisk, Place
from conjoin.fitting.evaluators import TIMEOUT_S, Command, Evaluator
from conjoin.fitting.fitters import Request
from conjoin.fitting.genomes import Layout, groups_of
from conjoin.fitting.search import GENETIC_POPULATION, Genes, Score, Search, cma_es, cma_population, genetic
from conjoin.memory import space_of
from conjoin.progress import SILENT, Progress
from conjoin.replica import Replica
from conjoin.store.files import reason
from conjoin.strategies.base import find_strategy
from conjoin.wire import canonical
from conjoin.wire.asset import Asset
from conjoin.wire.digest import Digest, raw, tagged

EVALUATIONS = {"evolutionary_merge": 100, "genetic_merge": 200}
"""Candidates that are tried unless another number is asked for: those of mergekit-evolve, and ten generations of 20."""
EVALUATIONS_MAX, POPULATION_MAX = 1_000_000, 10_000
DIMENSIONS_MAX, GENES_MAX = 2_000, 20_000_000
"""Genes of a candidate, and of all candidates: an asset holds them."""


@dataclass(frozen=True)
class Settings:
    """What a search depends on besides the models.

    Attributes:
        strategy: evolutionary_merge or genetic_merge.
        params: its parameters as a user gives them.
        evaluations: candidates to try.
        population: candidates per generation, None for the algorithm's own number.
        groups: see `groups_of`.
        data: files that the evaluator reads; their digests are kept with what was found.
    """

    strategy: str
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    evaluations: int | None = None
    population: int | None = None
    groups: Sequence[str] = ()
    data: Sequence[str | os.PathLike[str]] = ()

    @property
    def budget(self) -> int:
        """Candidates to try."""
        return EVALUATIONS[self.strategy] if self.evaluations is None else self.evaluations

    def check(self) -> None:
        """Refuse what no search can be made of.

        Raises:
            UnknownStrategyError, UnknownParameterError, BadParameterError: see there.
        """
        find_strategy(self.strategy).parse(self.params)
        if self.strategy not in EVALUATIONS:
            raise BadParameterError(
                f"nothing is searched for {self.strategy}", hint=f"searches are for {' and '.join(sorted(EVALUATIONS))}"
            )
        for name, value, least, most in (
            ("evaluations", self.budget, 1, EVALUATIONS_MAX),
            ("population", self.population or 2, 2, POPULATION_MAX),
        ):
            if not least <= value <= most:
                raise BadParameterError(f"{name} is {value}; a search takes {least} to {most}")


def fit_search(
    models: Any,
    strategy: str,
    evaluator: Evaluator,
    *,
    base: Any = None,
    weights: Sequence[object] | None = None,
    seed: object = None,
    evaluations: int | None = None,
    population: int | None = None,
    groups: Sequence[str] = (),
    data: Sequence[str | os.PathLike[str]] = (),
    progress: Progress = SILENT,
    **params: Any,
) -> Asset:
    """Search weights and densities for evolutionary_merge or genetic_merge.

    The same models, settings and answers give the same asset, in whatever order the models come.

    Args:
        models: arrays as `conjoin.resolve` takes them, or a Replica, whose visible set is then merged.
        strategy: evolutionary_merge (CMA-ES) or genetic_merge (a genetic algorithm).
        evaluator: takes a candidate and returns (correct, total), two integers. A candidate is a mapping from name to
            array, or one array where arrays were given; of a Replica it is the Path of a checkpoint folder, which is
            removed afterwards. A `Command` runs a program on the folder.
        base: the common base.
        weights: as for `conjoin.resolve`; not for a Replica.
        seed: as for `conjoin.resolve`; not for a Replica, which has its space's.
        evaluations: candidates to try; 100 for evolutionary_merge and 200 for genetic_merge if left out.
        population: candidates per generation; 4 + ⌊3 ln d⌋ and 20 if left out.
        groups: globs of tensors that get genes of their own; `layers` or `layers:N` for every N layers.
        data: files that the evaluator reads, to have their digests in the asset.
        progress: told about the candidates made.
        params: the strategy's parameters, `inner` and `normalize`.

    Returns:
        The asset for `conjoin.resolve(…, asset=asset)`, with every candidate and its score in `evidence`.

    Raises:
        EvaluatorError: the evaluator failed, or returned something else.
        BadParameterError, and what `conjoin.resolve` raises: see there.
    """
    settings = Settings(strategy, params, evaluations, population, groups, data)
    if isinstance(models, Replica):
        if base is not None or weights is not None or seed is not None:
            raise BadParameterError("a replica has its own base, weights and space", hint="leave them out")
        return search_and_asset(models, settings, evaluator, progress=progress)
    settings.check()
    return _found(settings, InMemory(strategy, params, models, evaluator, base, weights, space_of(seed)), progress)


def search_and_asset(
    replica: Replica,
    settings: Settings,
    evaluator: Evaluator,
    *,
    weights: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> Asset:
    """Search for what is visible in a replica; candidates are checkpoint folders.

    Args:
        replica: whose visible set is merged.
        settings: what to search.
        evaluator: takes the Path of a candidate's folder.
        weights: contribution digest (or prefix) → weight in place of its own, as for `Replica.recipe`.
        options: the recipe's rules for special cases, as for `Replica.recipe`.
        progress: told about the candidates made.

    Raises:
        EvaluatorError and what `Replica.resolve` raises: see there.
    """
    settings.check()
    with tempfile.TemporaryDirectory(prefix="conjoin-search-") as folder:
        place = OnDisk(settings.strategy, settings.params, replica, evaluator, Path(folder), weights, options)
        return _found(settings, place, progress)


def fit(request: Request) -> Asset:
    """What `conjoin fit` runs."""
    given = request.options
    settings = Settings(
        request.strategy,
        request.params,
        given.get("evaluations"),
        given.get("population"),
        given.get("group", ()),
        given.get("data", ()),
    )
    command = Command(given["evaluator"], given.get("timeout", TIMEOUT_S))
    command.words("")  # a line that is none is refused before anything is made
    return search_and_asset(request.replica, settings, command, progress=request.progress)


def _found(settings: Settings, place: Place, progress: Progress) -> Asset:
    """Search, and put what was found into an asset."""
    if not place.contributions:
        raise NothingVisibleError("there is nothing to search with: the visible set is empty", hint="add a model first")
    parsed = find_strategy(settings.strategy).parse(settings.params)
    groups = groups_of(place.names, settings.groups)
    layout = Layout(place.contributions, groups, parsed["inner"], parsed["normalize"], b"")
    if layout.dimensions > DIMENSIONS_MAX or layout.dimensions * settings.budget > GENES_MAX:
        raise BadParameterError(
            f"a search of {settings.budget} candidates of {layout.dimensions} genes is over the limit of "
            f"{DIMENSIONS_MAX:,} genes each and {GENES_MAX:,} in all",
            hint="try fewer candidates, or make larger groups, such as `layers:8`",
        )
    size = settings.population or (
        cma_population(layout.dimensions) if settings.strategy == "evolutionary_merge" else GENETIC_POPULATION
    )
    what = {
        "base": place.base,
        "groups": groups,
        "inner": layout.inner,
        "normalize": layout.normalize,
        "population": size,
        "root": place.root,
        "space": place.space,
        "strategy": settings.strategy,
        "weights": dict(place.weights),
    }
    seed = raw(tagged("conjoin/search/1", canonical.encode(what)))
    layout = replace(layout, seed=seed)
    data = sorted(_digest(path) for path in settings.data)
    progress.start("search", settings.budget * place.size_bytes)
    made = 0

    def asset(genes: Genes, evidence: Mapping[str, Any]) -> Asset:
        return Asset(settings.strategy, place.base, place.contributions, layout.values(genes), evidence)

    def evaluate(genes: Genes) -> Score:
        nonlocal made
        found = place.score(asset(genes, {}), f"candidate {made + 1}, genes {' '.join(map(str, genes[:20]))}")
        made += 1
        progress.advance(place.size_bytes)
        return found

    search = Search(evaluate, settings.budget)
    run: Callable[..., Search] = cma_es if settings.strategy == "evolutionary_merge" else genetic
    run(seed, layout.dimensions, search, population=size)
    evidence = {
        **what,
        "algorithm": run.__name__,
        "data": data,
        "evaluations": settings.budget,
        "history": [{"correct": t.score[0], "genes": list(t.genes), "total": t.score[1]} for t in search.history],
        "winner": search.best.index,
    }
    return asset(search.best.genes, evidence)


def _digest(path: str | os.PathLike[str]) -> Digest:
    try:
        with Path(path).open("rb") as stream:
            return Digest(hashlib.file_digest(stream, "sha256").hexdigest())
    except OSError as cause:
        raise MissingFileError(
            f"the data cannot be read: {reason(cause)}", where=os.fspath(path), hint="check the path of --data"
        ) from cause
