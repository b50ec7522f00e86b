"""KnOTS: write all task vectors of a layer in one basis, merge them there element by element, write the result back."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.kernels.counting import Found, select_from_top
from conjoin.kernels.layout import BRACKET_BINS, HIGH_BINS, LOW_SHIFT, NO_CUTOFF, Bracket
from conjoin.strategies import matrices
from conjoin.strategies.base import Block, Extent, Number, Params, Pass, RawArray, Scope, Unit, strategy
from conjoin.strategies.dropping import drop_below, keys_of
from conjoin.strategies.matrices import Matrix

Counts = npt.NDArray[np.int64]

SMALLEST, SMALLEST_SHARE = 1e-5, 1e-7
"""A direction counts where its singular value is above both: the first, and the second times the largest value."""


@dataclass(frozen=True, slots=True)
class Tied:
    """k task vectors side by side, [τ₁ | … | τ_k] = U Σ [V₁ᵀ | … | V_kᵀ], by the decomposition of their smaller side.

    Attributes:
        joined: (m, k·n), divided by the unit.
        unit: a power of two.
        values: (r,) the singular values that count, descending, divided by the unit.
        vectors: U (m, r) where m ≤ k·n, else V (k·n, r).
    """

    joined: Matrix
    unit: float
    values: Matrix
    vectors: Matrix

    @classmethod
    def of(cls, x: Block) -> "Tied":
        """The decomposition of one tensor."""
        (joined,), unit = matrices.scaled([np.concatenate(matrices.task_vectors(x), axis=1)])
        m, n = joined.shape
        squares, vectors = kernels.eigh(kernels.gram(joined if m <= n else joined.T, wide=True))
        values = np.sqrt(np.maximum(squares, 0.0))[::-1]
        counts = values > max(SMALLEST / unit, SMALLEST_SHARE * float(values[0]))
        return cls(joined, unit, values[counts], vectors[:, ::-1][:, counts])

    @property
    def parts(self) -> Matrix:
        """[P₁ | … | P_k] = Σ [V₁ᵀ | … | V_kᵀ] = Uᵀ [τ₁ | … | τ_k], (r, k·n)."""
        if self._is_left:
            return self.unit * kernels.gemm(self.vectors.T, self.joined, wide=True)
        return self.unit * (self.values[:, np.newaxis] * self.vectors.T)

    def back(self, merged: Matrix) -> Matrix:
        """U · P of a merged P (r, n)."""
        basis = self.vectors if self._is_left else kernels.gemm(self.joined, self.vectors / self.values, wide=True)
        return kernels.gemm(basis, merged, wide=True)

    @property
    def _is_left(self) -> bool:
        return self.joined.shape[0] <= self.joined.shape[1]


def _patterns(x: Block, tied: Tied) -> list[RawArray]:
    """The Pᵢ as F64 patterns."""
    return [np.ascontiguousarray(part).ravel().view(np.uint64) for part in np.split(tied.parts, x.count, axis=1)]


def _high(parts: list[RawArray]) -> Counts:
    return kernels.high_histograms(parts, np.zeros_like(parts[0]), "F64")


def _bins(counts: Counts, density: Fraction) -> Found:
    """Where the m-th largest magnitudes lie, m = max(1, ⌊density · N⌋)."""
    ranks = (max(1, (density * int(row.sum())).__floor__()) for row in counts)
    return select_from_top(counts, tuple(ranks))


def _low(parts: list[RawArray], found: Found) -> Counts:
    brackets = [Bracket(high << LOW_SHIFT, (high + 1) << LOW_SHIFT, high << LOW_SHIFT) for high in found.bins]
    return kernels.bracket_counts(parts, np.zeros_like(parts[0]), "F64", brackets)


def _thresholds(counts: Counts, found: Found) -> tuple[int, ...]:
    low = select_from_top(counts[:, :BRACKET_BINS], found.ranks)
    return tuple((high << LOW_SHIFT) + key for high, key in zip(found.bins, low.bins, strict=True))


def _trims(params: Params) -> bool:
    return params["inner"] == "ties" and params["density"] < 1


def _needs_passes(params: Params) -> bool:
    return _trims(params) and params["trim_scope"] == "model"


def _measure_high(x: Block, params: Params) -> Counts:  # noqa: ARG001
    x = matrices.present(x)
    return _high(_patterns(x, Tied.of(x))) if matrices.is_matrix(x) else np.zeros((x.count, HIGH_BINS), np.int64)


def _finish_high(total: Counts, params: Params, extent: Extent) -> Found:  # noqa: ARG001
    return _bins(total, params["density"])


def _measure_low(x: Block, params: Params) -> Counts:  # noqa: ARG001
    x = matrices.present(x)
    if not matrices.is_matrix(x):
        return np.zeros((x.count, BRACKET_BINS + 2), np.int64)
    return _low(_patterns(x, Tied.of(x)), x.measured["high"])


def _finish_low(total: Counts, params: Params, extent: Extent) -> tuple[int, ...]:  # noqa: ARG001
    return _thresholds(total, extent.measured["high"])


def _trimmed_and_elected(x: Block, parts: list[RawArray], params: Params) -> RawArray:
    """TIES on the Pᵢ."""
    trim = kernels.Trim.nothing(x.count)
    if _trims(params):
        thresholds = x.measured.get("low")
        if thresholds is None:
            found = _bins(_high(parts), params["density"])
            thresholds = _thresholds(_low(parts, found), found)
        trim = kernels.Trim(thresholds, (NO_CUTOFF,) * x.count)
    return kernels.ties(
        parts,
        np.zeros_like(parts[0]),
        "F64",
        "F64",
        terms=kernels.coefficients(x.weights),
        trim=trim,
        start=0,
        aggregate="mean",
        zero_sign=0,
        scale=kernels.coefficients([params["scale"]]),
    )


def _dropped_and_elected(x: Block, parts: list[RawArray], params: Params) -> RawArray:
    """DARE-TIES on the Pᵢ."""
    return kernels.dropped_ties(
        parts,
        np.zeros_like(parts[0]),
        "F64",
        "F64",
        terms=kernels.coefficients(x.weights),
        table=np.array([drop_below(params["density"], x.strategy)], np.uint32),
        ranks=None,
        keys=keys_of(x, "root"),
        start=0,
        aggregate="mean",
        zero_sign=0,
        scale=kernels.coefficients([params["scale"]]),
    )


def _check(params: Params, weights: tuple[Fraction, ...]) -> None:  # noqa: ARG001
    """Refuse a density that keeps nothing."""
    if params["inner"] == "dare_ties":
        drop_below(params["density"], "svd_knot_tying")


def _added(x: Block, parts: list[RawArray], params: Params) -> RawArray:
    """Scale · Σ wᵢPᵢ, or that by Σ wᵢ."""
    divisor = sum(x.weights, Fraction(0)) if params["inner"] == "mean" else Fraction(1)
    terms = kernels.coefficients([params["scale"] * weight / divisor for weight in x.weights])
    return kernels.delta_sum(parts, np.zeros_like(parts[0]), "F64", "F64", terms=terms)


_INNER = {
    "ties": _trimmed_and_elected,
    "dare_ties": _dropped_and_elected,
    "task_arithmetic": _added,
    "mean": _added,
}


@strategy(
    scope=Scope.MATRIX,
    needs_base=True,
    stochastic=True,
    normalises=True,
    check=_check,
    passes=(
        Pass("high", _measure_high, _finish_high, lambda _: "model", needed=_needs_passes),
        Pass("low", _measure_low, _finish_low, lambda _: "model", needed=_needs_passes),
    ),
    source="Stoica et al., ICLR 2025, arXiv:2410.19735; authors' code gstoica27/KnOTS",
)
def svd_knot_tying(
    x: Block,
    *,
    inner: Literal["ties", "dare_ties", "task_arithmetic", "mean"] = "ties",
    density: Unit = Fraction("0.2"),
    scale: Number = Fraction("0.6"),
    trim_scope: Literal["model", "tensor"] = "model",
) -> RawArray:
    """Align task vectors by one joint singular value decomposition, merge them in its basis, write the result back.

    [τ₁ | … | τ_k] = U Σ [V₁ᵀ | … | V_kᵀ],   Pᵢ = Σ Vᵢᵀ,   θ = θ₀ + U · inner(P₁, …, P_k)

    Singular values up to max(10⁻⁵, 10⁻⁷ · the largest) are left out.
    Shapes: x.tensors (k, n) as k matrices (dim 0, the others), x.base (n,), x.weights (k,) → (n,).
    Defaults: inner ties, density 0.2, scale 0.6 (the paper's for ViT); w = 1.
    inner: `ties` trims the Pᵢ, elects a sign per element by Σ wᵢP̂ᵢ and takes scale · the weighted mean of those that
    agree; `dare_ties` drops elements at random instead of trimming and divides what it keeps by the chance of that (in
    the paper for Llama, with scale 0.4); `task_arithmetic` is scale · Σ wᵢPᵢ, `mean` that by Σ wᵢ. The last two are
    what they are without the basis. Only `dare_ties` draws.
    density: share of the elements of the Pᵢ that are kept; `ties` keeps all that equal the last one in magnitude.
    trim_scope: `model` takes one threshold per contribution for the Pᵢ of all tensors and decomposes every tensor three
    times; `tensor` takes one per tensor.
    Edge cases: vectors and scalars are averaged. An element whose weighted sum is exactly 0 stays 0: the signs of the
    singular vectors are arbitrary, so no other rule would be a function of the inputs. For the same reason the receipt
    says where singular values are equal, because then the basis that the kernels found decides. k = 1 is trimmed.
    Differs: the authors' tolerance is 10⁻⁵ alone; U comes from the eigenvectors of Σ τᵢτᵢᵀ (of the other side where
    that is smaller), so values below 10⁻⁷ of the largest could not be told apart.
    """
    x, origin = matrices.present(x), x.origin
    if not matrices.is_matrix(x):
        return matrices.mean(x)
    params: Params = {"inner": inner, "density": density, "scale": scale, "trim_scope": trim_scope}
    base, tied = matrices.decoded(x, origin), Tied.of(x)
    parts = _patterns(x, tied)
    if inner in ("ties", "dare_ties"):
        matrices.warn_of_clusters(tied.values, x.warn, x.name)
    merged = _INNER[inner](x, parts, params)
    update = tied.back(merged.view(np.float64).reshape(len(tied.values), base.shape[1]))
    return matrices.encoded(x, matrices.moved(base, update))
