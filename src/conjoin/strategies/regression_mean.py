"""RegMean: the linear layer whose outputs on the contributions' own inputs are nearest to each contribution's."""

from fractions import Fraction
from typing import Annotated, Literal

import numpy as np

from conjoin import kernels
from conjoin.errors import BadSidecarError, NotPositiveDefiniteError, NotSymmetricError
from conjoin.strategies import matrices
from conjoin.strategies.base import Block, Domain, Extra, Params, RawArray, Scope, Share, SideCar, strategy
from conjoin.strategies.matrices import Matrix

Ridge = Annotated[Fraction, Domain(minimum=Fraction(0))]


def _square(shape: tuple[int, ...], side: int) -> tuple[int, int] | None:
    if len(shape) < 2:
        return None
    extent = matrices.dimensions(shape)[side]
    return extent, extent


GRAMS = (
    SideCar("gram", "gram", shape=lambda shape: _square(shape, 1), required=False, elementwise=False),
    SideCar(
        "gram_rows",
        "gram",
        key=lambda name: f"rows.{name}",
        shape=lambda shape: _square(shape, 0),
        required=False,
        elementwise=False,
    ),
)
"""XᵀX / n of a layer's inputs; of a weight that is kept in × out, as in Conv1D of GPT-2, the inputs are its rows."""


def _side_cars(params: Params) -> tuple[SideCar, ...]:
    return GRAMS if params["variant"] == "gram" else ()


def _checked(x: Block, extra: Extra) -> list[Matrix]:
    """The Gram matrices, after a look at what each could not be.

    Raises:
        BadSidecarError, NotSymmetricError: see there.
    """
    found: list[Matrix] = []
    for raw, digest in zip(extra.tensors, x.contributions, strict=True):
        gram = kernels.decode(raw, extra.format).reshape(extra.shape)
        where = f"Gram of tensor `{x.name}`, contribution {digest}"
        if not np.isfinite(gram).all():
            raise BadSidecarError("a Gram matrix holds NaN or Inf", where=where)
        differs = np.argwhere(gram != gram.T)
        if len(differs):
            i, j = (int(at) for at in differs[0])
            raise NotSymmetricError(
                f"the Gram matrix has {float(gram[i, j])!r} at ({i}, {j}) but {float(gram[j, i])!r} at ({j}, {i})",
                where=where,
                hint="`conjoin stats gram` makes symmetric ones",
            )
        if (gram.diagonal() < 0).any():
            raise BadSidecarError("a Gram matrix has a negative number on its diagonal", where=where)
        found.append(gram)
    return found


def _of_inputs(x: Block) -> tuple[list[Matrix], bool] | None:
    """The Gram matrices that the contributions carry, and whether they are of the rows; None where there are none."""
    held = [name for name in ("gram", "gram_rows") if name in x.extras]
    if len(held) == 2:
        raise BadSidecarError(
            "the side-cars have a Gram matrix of the columns and one of the rows",
            where=f"tensor `{x.name}`",
            hint=f"`rows.{x.name}` is for a weight that is kept in × out; keep the one that fits",
        )
    return (_checked(x, x.extras[held[0]]), held[0] == "gram_rows") if held else None


def _of_task_vectors(x: Block) -> list[Matrix]:
    """τᵢᵀτᵢ / ‖τᵢ‖², 0 of a task vector that is 0."""
    found: list[Matrix] = []
    for tau in matrices.task_vectors(x):
        gram = kernels.gram(matrices.scaled([tau])[0][0].T, wide=True)
        size = float(_trace(gram))
        found.append(gram / size if size else gram)
    return found


def _trace(square: Matrix) -> Fraction:
    return sum((Fraction(float(value)) for value in square.diagonal()), Fraction(0))


def _correction(x: Block, parts: list[Matrix], grams: list[Matrix], off_diagonal: Fraction, ridge: Fraction) -> Matrix:
    """(Σ wᵢ Dᵢ G̃ᵢ) (Σ wᵢ G̃ᵢ + ρ I)⁻¹ for Dᵢ (m, n) and Gᵢ (n, n).

    Raises:
        NotPositiveDefiniteError: the sum is not positive definite, with the ridge.
    """
    n = parts[0].shape[1]
    terms, whole, right = matrices.shares(x), np.zeros((n, n)), np.zeros(parts[0].shape)
    seen, unit = matrices.scaled(grams)
    for numerator, part, gram in zip(terms.numerators, parts, seen, strict=True):
        shrunk = np.where(np.eye(n, dtype=bool), gram, float(off_diagonal) * gram)
        whole += numerator * shrunk
        right += numerator * kernels.gemm(part, shrunk, wide=True)
    trace = _trace(whole)
    if not trace:
        return np.zeros(parts[0].shape)
    added = float(ridge * trace / n)
    in_words = f"a ridge of {added * unit / terms.denominator:.3g}"
    np.fill_diagonal(whole, whole.diagonal() + added)
    try:
        factor = kernels.cholesky(whole)
    except NotPositiveDefiniteError as error:
        raise NotPositiveDefiniteError(
            f"the mean of the Gram matrices is not positive definite with {in_words}",
            where=f"tensor `{x.name}`",
            hint="a larger `-p ridge=…` helps where it is singular; else a contribution's Gram is none",
        ) from error
    bare = int(np.count_nonzero(factor.diagonal() * factor.diagonal() <= 2 * added))
    if bare:
        x.warn(f"the mean Gram of `{x.name}` is singular in {bare} of {n} pivots; {in_words} was added")
    half = kernels.solve_triangular(factor, right, right=True, transposed=True)
    return kernels.solve_triangular(factor, half, right=True)


@strategy(
    scope=Scope.MATRIX,
    normalises=True,
    uses_base=lambda params: params["variant"] == "delta_gram",
    side_cars=_side_cars,
    source="Jin et al., ICLR 2023, arXiv:2212.09849; authors' code bloomberg/dataless-model-merging",
)
def regression_mean(
    x: Block,
    *,
    off_diagonal: Share = Fraction("0.9"),
    ridge: Ridge = Fraction("0.000001"),
    variant: Literal["gram", "delta_gram"] = "gram",
) -> RawArray:
    """Average linear layers so that, on each contribution's inputs, the outputs stay nearest to that contribution's.

    W = (Σᵢ wᵢ Wᵢ G̃ᵢ + ρ M) (Σᵢ wᵢ G̃ᵢ + ρ I)⁻¹,   M = Σᵢ wᵢ Wᵢ / Σᵢ wᵢ,   ρ = ridge · tr(Σᵢ wᵢ G̃ᵢ) / n

    Gᵢ = XᵢᵀXᵢ / tokens, from the side-car `gram`; G̃ᵢ is Gᵢ with all but its diagonal times off_diagonal.
    Shapes: x.tensors (k, n) as matrices Wᵢ (out × in), Gᵢ (in × in); x.weights (k,) → (n,).
    Defaults: off_diagonal 0.9 (the paper's α, which takes 0.1 for T5); ridge 10⁻⁶; w = 1.
    off_diagonal: share of the correlations between inputs that is believed. 0 is a weighted mean per input.
    ridge: pulls the result towards the mean, so that inputs which nobody saw take the mean. What was added where the
    sum of the Grams is singular stands in the receipt; with 0 a singular sum is an error.
    variant: `delta_gram` is an approximation without data: Gᵢ = τᵢᵀτᵢ / ‖τᵢ‖², and needs a base.
    Side-car: `gram` holds NAME (in × in) for a weight that is out × in, `rows.NAME` for one that is in × out (Conv1D).
    Edge cases: a tensor that no contribution has a Gram for, such as an embedding or a norm, is averaged. Equal
    contributions give exactly that; k = 1 gives θ₁. A Gram that is not symmetric, or has NaN, Inf or a negative
    number on the diagonal, is an error.
    Differs: the paper adds no ridge.
    """
    x = matrices.present(x)
    if not matrices.is_matrix(x):
        return matrices.mean(x)
    if variant == "gram":
        found = _of_inputs(x)
        if found is None:
            return matrices.mean(x)
        grams, turned = found
    else:
        grams, turned = _of_task_vectors(x), False
    centre = matrices.mean_matrix(x)
    parts, unit = matrices.scaled([matrices.difference(x, matrices.decoded(x, raw), centre) for raw in x.tensors])
    if not any(part.any() for part in parts):
        return matrices.encoded(x, centre)
    update = _correction(x, [part.T for part in parts] if turned else parts, grams, off_diagonal, ridge)
    return matrices.encoded(x, matrices.moved(centre, update.T if turned else update, unit))
