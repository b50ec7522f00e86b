"""Genomes: weights and densities of the contributions by group of tensors, as a search found them; searches nothing."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadParameterError, BadWeightError, WrongAssetError
from conjoin.kernels.counting import Narrowed, bracket_of_sample, narrowed
from conjoin.kernels.layout import NO_CUTOFF, Bracket
from conjoin.strategies.base import Block, Extent, Params, Pass, RawArray, parse_decimal

Counts = npt.NDArray[np.int64]
Inner = Literal["dare_ties", "ties", "task_arithmetic", "linear"]
"""What the genome is of: the recipe that weighs and thins out the contributions."""

UNITS = 10**9
"""Genes are whole multiples of 1/UNITS, so that the number of elements to keep adds up exactly over slices."""
_SEARCH = ("sample", "bracket", "narrower", "narrowest")
_SAMPLE_ELEMENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Genes:
    """The genome of one tensor: an exact weight and density for each contribution, and the seed of the masks.

    Attributes:
        weights: of the contributions, times their genes; they sum up to anything.
        densities: share of each task vector that is kept.
        seed: names the draws.
        alone: the only contribution with a weight, where weights are normalised and there is but one.
    """

    weights: tuple[Fraction, ...]
    densities: tuple[Fraction, ...]
    seed: bytes
    alone: int | None

    @property
    def used(self) -> list[int]:
        """The contributions whose weight is not 0."""
        return [i for i, weight in enumerate(self.weights) if weight]


def genes_of(x: Block, params: Params) -> Genes:
    """What the asset says of the tensor a block is a slice of.

    Raises:
        MissingAssetError: none was given.
        WrongAssetError: it is no genome, is one of other parameters, or lacks a contribution.
        BadWeightError: nothing has a weight, and weights are to be normalised.
    """
    values = x.learned
    for name in ("inner", "normalize"):
        asked, held = _text(params[name]), values.get(name)
        if held != asked:
            raise WrongAssetError(
                f"the asset of {x.strategy} has `{name}` {held!r:.40} and the recipe {asked!r}",
                hint=f"give `-p {name}={held}`" if isinstance(held, str) else f"`conjoin fit {x.strategy}` makes one",
            )
    group, genes = group_of(x.name, values.get("groups"), x.strategy), values.get("genes")
    pairs = [_pair(genes, digest, group, x.strategy) for digest in x.contributions]
    weights = tuple(own * weight for own, (weight, _) in zip(x.weights, pairs, strict=True))
    if params["normalize"] and not sum(weights):
        raise BadWeightError(
            f"the weights of {x.strategy} add up to 0", where=f"tensor `{x.name}`", hint="weigh a contribution"
        )
    used = [i for i, weight in enumerate(weights) if weight]
    alone = used[0] if params["normalize"] and len(used) == 1 else None
    return Genes(weights, tuple(density for _, density in pairs), _seed(values, x.strategy), alone)


def group_of(name: str, groups: object, strategy: str) -> int:
    """The first group with a glob that matches the name of a tensor.

    Raises:
        WrongAssetError: the groups are no lists of globs, or none matches.
    """
    for number, globs in enumerate(_items(groups)):
        if any(isinstance(glob, str) and fnmatchcase(name, glob) for glob in _items(globs)):
            return number
    raise WrongAssetError(
        f"the asset of {strategy} has no group for tensor `{name}`",
        hint='`groups` is a list of lists of globs, of which the last is ["*"]',
    )


def _items(value: object) -> Sequence[object]:
    """A list as it is, anything else as an empty one."""
    return cast(Sequence[object], value) if isinstance(value, list | tuple) else ()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _seed(values: Mapping[str, Any], strategy: str) -> bytes:
    seed = values.get("seed")
    try:
        found = bytes.fromhex(seed) if isinstance(seed, str) else b""
    except ValueError:
        found = b""
    if len(found) != 32:
        raise WrongAssetError(f"the seed in the asset of {strategy} is {seed!r:.80}, not 64 hexadecimal characters")
    return found


def _pair(genes: object, digest: str, group: int, strategy: str) -> tuple[Fraction, Fraction]:
    """Weight and density of a contribution in a group."""
    row = _items(cast(Mapping[str, object], genes).get(digest)) if isinstance(genes, Mapping) else ()
    pair = _items(row[group]) if group < len(row) else ()
    if len(pair) != 2:
        raise WrongAssetError(
            f"the asset of {strategy} has no weight and density for contribution {digest[:12]} in group {group}",
            hint=f"`conjoin fit {strategy}` makes one for what is visible now",
        )
    texts = [one if isinstance(one, str) else "" for one in pair]
    weight, density = _gene(texts[0]), _gene(texts[1], share=True)
    if weight is None or density is None:
        raise WrongAssetError(
            f"the genes of contribution {digest[:12]} in group {group} are {list(pair)!r:.80}",
            hint="a weight of 0 or more and a density above 0, at most 1, as decimal strings of up to 9 places",
        )
    return weight, density


@functools.lru_cache(65_536)
def _gene(text: str, *, share: bool = False) -> Fraction | None:
    """A gene that is written as it has to be; a share lies above 0 and is at most 1."""
    try:
        found = parse_decimal(text, "a gene")
    except BadParameterError:
        return None
    fits = found >= 0 and (found * UNITS).denominator == 1 and (not share or 0 < found <= 1)
    return found if fits else None


# ---------------------------------------------------------------------- what is measured first


def _trims(params: Params) -> bool:
    return params["inner"] == "ties"


def _elects(params: Params) -> bool:
    return params["inner"] in ("ties", "dare_ties")


def _narrowest(measured: Mapping[str, Any]) -> Narrowed:
    return next(measured[name] for name in reversed(_SEARCH) if name in measured)


def _with_kept(counts: Counts, x: Block, params: Params) -> Counts:
    """Counts with a last column that adds up to the elements to keep, in 1/UNITS: `finish` sees no genome."""
    kept = [[int(density * UNITS) * len(x.tensors[0])] for density in genes_of(x, params).densities]
    return np.concatenate([counts, np.array(kept, np.int64)], axis=1)


def _rank(kept: int, elements: int, counted: int) -> int:
    """Which magnitude, counted from the largest, is the threshold: m = max(1, ⌊density · n⌋)."""
    return max(1, kept * elements // (UNITS * max(counted, 1)))


def _joined(parts: Sequence[Narrowed]) -> Narrowed:
    return Narrowed(tuple(p.brackets[0] for p in parts), tuple(p.ranks[0] for p in parts))


def _measure_sample(x: Block, params: Params) -> Counts:
    return _with_kept(kernels.high_histograms(x.tensors, x.origin, x.format), x, params)


def _finish_sample(total: Counts, params: Params, extent: Extent) -> Narrowed:  # noqa: ARG001
    rows = [total[i : i + 1, :-1] for i in range(extent.count)]
    ranks = [_rank(int(kept), extent.elements, int(row.sum())) for kept, row in zip(total[:, -1], rows, strict=True)]
    return _joined([bracket_of_sample(row, rank, extent.elements) for row, rank in zip(rows, ranks, strict=True)])


def _measure_bracket(x: Block, params: Params) -> Counts:
    counts = kernels.bracket_counts(x.tensors, x.origin, x.format, _narrowest(x.measured).brackets)
    return _with_kept(counts, x, params)


def _finish_bracket(total: Counts, params: Params, extent: Extent) -> Narrowed:  # noqa: ARG001
    before = _narrowest(extent.measured)
    ranks = [_rank(int(kept), extent.elements, extent.elements) for kept in total[:, -1]]
    return _joined(
        [narrowed(Narrowed((before.brackets[i],), (0,)), total[i : i + 1, :-1], rank) for i, rank in enumerate(ranks)]
    )


def _measure_majority(x: Block, params: Params) -> Counts:
    genes = genes_of(x, params)
    if genes.alone is not None or not genes.used:
        return np.zeros(2, np.int64)
    tensors, terms = _voters(x, genes)
    if params["inner"] == "ties":
        return kernels.elected_signs(tensors, x.origin, x.format, terms, _trim(x, genes), x.offset)
    table, ranks, keys = _drops(x, genes)
    return kernels.dropped_signs(
        tensors, x.origin, x.format, terms, table=table, ranks=ranks, keys=keys, start=x.offset
    )


def _majority(total: Counts) -> int:
    return int(np.sign(total[0] - total[1]))


def _finish_majority(total: Counts, params: Params, extent: Extent) -> int:  # noqa: ARG001
    return _majority(total)


PASSES = (
    Pass(
        "sample",
        _measure_sample,
        _finish_sample,
        needed=_trims,
        sample=lambda _, elements: max(1, elements // _SAMPLE_ELEMENTS),
    ),
    *(
        Pass(name, _measure_bracket, _finish_bracket, needed=_trims, settled=lambda found: _narrowest(found).is_exact)
        for name in _SEARCH[1:]
    ),
    Pass("majority", _measure_majority, _finish_majority, needed=_elects),
)
"""For parameters `inner` and `normalize`; thresholds and majorities are those of a tensor."""


def measured_whole(x: Block, params: Params) -> dict[str, Any]:
    """What PASSES find, for a block that is a whole tensor: the same, without a count of every magnitude."""
    n = len(x.tensors[0])
    found: dict[str, Any] = {}
    if _trims(params):
        tops = [min(_rank(int(density * UNITS) * n, n, n), n) for density in genes_of(x, params).densities]
        wanted = sorted(set(tops))
        bounds = kernels.row_bounds(x.tensors, x.origin, x.format, n, wanted) if n else None
        keys = [0 if bounds is None else int(bounds[i, 0, wanted.index(top), 0]) for i, top in enumerate(tops)]
        found["narrowest"] = Narrowed(tuple(Bracket(key, key + 1, key) for key in keys), (1,) * len(keys))
    if _elects(params):
        x = replace(x, measured=found)
        found["majority"] = _majority(_measure_majority(x, params))
    return found


# ---------------------------------------------------------------------- the merge


def _voters(x: Block, genes: Genes) -> tuple[tuple[RawArray, ...], kernels.Coefficients]:
    weights = [genes.weights[i] for i in genes.used]
    return tuple(x.tensors[i] for i in genes.used), kernels.coefficients(weights)


def _trim(x: Block, genes: Genes) -> kernels.Trim:
    brackets = _narrowest(x.measured).brackets
    return kernels.Trim(tuple(brackets[i].low for i in genes.used), (NO_CUTOFF,) * len(genes.used))


def _drops(
    x: Block, genes: Genes
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32] | None, list[kernels.DrawKey]]:
    """Thresholds of the draws, which of them is each contribution's, and the names of the draws."""
    keys = [kernels.draw_key(genes.seed, x.strategy, x.name, x.contributions[i]) for i in genes.used]
    thresholds = [kernels.drop_threshold(genes.densities[i]) for i in genes.used]
    table = sorted(set(thresholds))
    if len(table) == 1:
        return np.array(table, np.uint32), None, keys
    own = np.array([table.index(threshold) for threshold in thresholds], np.uint32)
    return np.array(table, np.uint32), np.tile(own[:, np.newaxis], (1, len(x.tensors[0]))), keys


def apply_genome(x: Block, params: Params) -> RawArray:
    """The inner recipe with the weights and densities of the genome; see the strategies."""
    genes, inner = genes_of(x, params), params["inner"]
    if genes.alone is not None:
        return kernels.linear((x.tensors[genes.alone],), kernels.coefficients([Fraction(1)]), x.format, x.out_format)
    total = sum(genes.weights, Fraction(0)) if params["normalize"] else Fraction(1)
    shares = [weight / total for weight in genes.weights]
    if inner == "linear":
        return kernels.linear(x.tensors, kernels.coefficients(shares), x.format, x.out_format)
    if inner == "task_arithmetic" or not genes.used:
        terms = kernels.coefficients([1 - sum(shares, Fraction(0)), *shares])
        return kernels.linear((x.origin, *x.tensors), terms, x.format, x.out_format)
    tensors, terms = _voters(x, genes)
    aggregate = "mean" if params["normalize"] else "sum"
    one = kernels.coefficients([Fraction(1)])
    majority = x.measured["majority"]
    if inner == "ties":
        return kernels.ties(
            tensors,
            x.origin,
            x.format,
            x.out_format,
            terms=terms,
            trim=_trim(x, genes),
            start=x.offset,
            aggregate=aggregate,
            zero_sign=majority,
            scale=one,
        )
    table, ranks, keys = _drops(x, genes)
    return kernels.dropped_ties(
        tensors,
        x.origin,
        x.format,
        x.out_format,
        terms=terms,
        table=table,
        ranks=ranks,
        keys=keys,
        start=x.offset,
        aggregate=aggregate,
        zero_sign=majority,
        scale=one,
    )
