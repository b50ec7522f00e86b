"""Tensors as matrices of float64: what the strategies on whole matrices share, from decoding to the one rounding.

A tensor of two or more dimensions is the matrix (dim 0, all the others). Before anything is multiplied, the numbers are
divided by a power of two that brings the largest between 1 and 2: exact, and no square of a matrix leaves float64.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadParameterError, BadWeightError
from conjoin.kernels import scalars
from conjoin.strategies.base import Block, RawArray

Matrix = npt.NDArray[np.float64]

UNIT_MAX = 1000
"""Largest exponent of a unit, so that it and its inverse are normal numbers."""
CLUSTER = 1e-10
"""Share of the largest singular value by which two values must differ, or their vectors are not determined."""


def is_matrix(x: Block) -> bool:
    """Whether the tensor has a matrix to work on: two or more dimensions, and elements."""
    return len(x.shape) > 1 and math.prod(x.shape) > 0


def dimensions(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a tensor of two or more dimensions."""
    return shape[0], math.prod(shape[1:])


def present(x: Block) -> Block:
    """The block with the contributions whose weight is not 0.

    Raises:
        BadWeightError: there is none.
    """
    used = [i for i, weight in enumerate(x.weights) if weight]
    if not used:
        raise BadWeightError(f"the weights of {x.strategy} add up to 0", where=f"tensor `{x.name}`")

    def kept(items: Sequence[object]) -> tuple[object, ...]:
        return tuple(items[i] for i in used)

    fields = {name: kept(getattr(x, name)) for name in ("tensors", "weights", "contributions")}
    extras = {name: replace(extra, tensors=kept(extra.tensors)) for name, extra in x.extras.items()}
    return replace(x, **fields, extras=extras)  # type: ignore[arg-type]


def shares(x: Block) -> kernels.Coefficients:
    """wᵢ / Σw."""
    total = sum(x.weights, Fraction(0))
    return kernels.coefficients([weight / total for weight in x.weights])


def mean(x: Block) -> RawArray:
    """The rule for vectors: Σ wᵢθᵢ / Σ wᵢ, the bytes of `linear`."""
    return kernels.linear(x.tensors, shares(x), x.format, x.out_format)


def decoded(x: Block, raw: RawArray, form: str | None = None) -> Matrix:
    """A tensor as a matrix."""
    return kernels.decode(raw, form or x.format).reshape(dimensions(x.shape))


def mean_matrix(x: Block) -> Matrix:
    """Σ wᵢθᵢ / Σ wᵢ in float64; an element that all agree on is that element."""
    found = decoded(x, kernels.linear(x.tensors, shares(x), x.format, "F64"), "F64")
    first = decoded(x, x.tensors[0])
    same = np.ones(len(x.tensors[0]), dtype=bool)
    for raw in x.tensors[1:]:
        same &= raw == x.tensors[0]
    return np.where(same.reshape(found.shape), first, found)


def difference(x: Block, left: Matrix, right: Matrix) -> Matrix:
    """The difference left − right, rounded once.

    Raises:
        BadParameterError: it overflows.
    """
    with np.errstate(over="ignore"):
        found = left - right
    if not np.isfinite(found).all():
        raise BadParameterError(
            "the difference of two tensors overflows float64", where=f"tensor `{x.name}`", hint="use another strategy"
        )
    return found


def task_vectors(x: Block) -> list[Matrix]:
    """τᵢ = θᵢ − θ₀, each rounded once."""
    origin = decoded(x, x.origin)
    return [difference(x, decoded(x, raw), origin) for raw in x.tensors]


def unit_of(matrices: Sequence[Matrix]) -> float:
    """The power of two that brings the largest magnitude between 1 and 2; 1 where all are 0."""
    largest = max((float(np.abs(matrix).max(initial=0)) for matrix in matrices), default=0.0)
    if not largest:
        return 1.0
    return math.ldexp(1.0, max(-UNIT_MAX, min(UNIT_MAX, math.frexp(largest)[1] - 1)))


def scaled(matrices: Sequence[Matrix]) -> tuple[list[Matrix], float]:
    """The matrices divided by their unit, and the unit."""
    unit = unit_of(matrices)
    return [matrix / unit for matrix in matrices], unit


def total(parts: Sequence[Matrix], terms: kernels.Coefficients) -> Matrix:
    """Σ nᵢXᵢ / D, in canonical order."""
    found = np.zeros_like(parts[0])
    for part, numerator in zip(parts, terms.numerators, strict=True):
        found += numerator * part
    return found / terms.denominator


def moved(origin: Matrix, update: Matrix, unit: float = 1.0) -> Matrix:
    """The matrix origin + unit · update; origin itself, sign of zero included, where the update is 0."""
    with np.errstate(over="ignore"):
        return np.where(update == 0, origin, origin + unit * update)


def encoded(x: Block, matrix: Matrix) -> RawArray:
    """The matrix in the format of the output, rounded once."""
    return kernels.encode(matrix.ravel(), x.out_format)


def inner_products(left: Matrix, right: Matrix) -> tuple[Fraction, Fraction, Fraction]:
    """⟨left, left⟩, ⟨left, right⟩, ⟨right, right⟩ as float64 numbers, of the tree of canonical blocks."""
    flat = [np.ascontiguousarray(matrix).ravel().view(np.uint64) for matrix in (left, right)]
    found = kernels.fold_blocks(kernels.block_gram(flat, None, "F64"))
    return Fraction(float(found[0, 0])), Fraction(float(found[0, 1])), Fraction(float(found[1, 1]))


def frobenius(matrix: Matrix) -> Fraction:
    """‖A‖_F."""
    (part,), unit = scaled([matrix])
    return Fraction(unit) * scalars.sqrt(inner_products(part, part)[0])


def leading(values: Matrix, share: Fraction) -> tuple[int, Fraction, Fraction]:
    """How many singular values (descending) reach a share of their sum, the sum of all and the sum of those, exact."""
    whole = [Fraction(float(value)) for value in values]
    everything, reached, count = sum(whole, Fraction(0)), Fraction(0), 0
    wanted = share * everything
    while reached < wanted:
        reached += whole[count]
        count += 1
    return count, everything, reached


def warn_of_clusters(values: Matrix, warn: Callable[[str], None], name: str, *, cut: int | None = None) -> None:
    """Say where singular values (descending) do not determine what is made of their vectors.

    Args:
        values: (r,) float64.
        warn: takes the warning.
        name: of the tensor.
        cut: how many are kept, where only a cut between two equal values matters.
    """
    gaps = values[:-1] - values[1:]
    close = gaps < CLUSTER * values[0] if len(values) else gaps.astype(bool)
    if cut is None:
        count = int(np.count_nonzero(close))
        if count:
            warn(f"degenerate: {count} pairs of neighbouring singular values of `{name}` are equal; any basis will do")
    elif 0 < cut < len(values) and close[cut - 1]:
        warn(f"degenerate: singular values {cut} and {cut + 1} of `{name}` are equal, and one of them is cut off")
