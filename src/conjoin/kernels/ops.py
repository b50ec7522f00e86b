"""The operations of the arithmetic as other rooms call them; checks arguments, leaves the work to a backend.

Raw arrays are 1-D bit patterns of a format. Every input is widened exactly to float64, every operation is one IEEE 754
operation in the order written, and the result is rounded once.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.backend import operation
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import FORMATS, Float64, Raw
from conjoin.kernels.layout import BLOCK_ELEMENTS, INDEX_BINS, INDEX_SHIFT, Aggregate, Trim
from conjoin.kernels.scalars import Coefficients

Int64 = npt.NDArray[np.int64]

FINITE_ELEMENTS = 262_144
"""Patterns looked at at once by `count_nonfinite`, so that both looks find them in the cache."""


def _plain(raw: Raw, form: str) -> Raw:
    """The array as the kernels need it: one dimension, contiguous, aligned, of the format's width."""
    assert raw.dtype == FORMATS[form].raw and raw.ndim == 1, f"{raw.dtype} with {raw.ndim} dimensions is not raw {form}"
    return np.require(raw, requirements=["C", "A"])


def _elements(tensors: Sequence[Raw]) -> int:
    return sum(len(tensor) for tensor in tensors)


def _all_plain(tensors: Sequence[Raw], form: str) -> list[Raw]:
    plain = [_plain(tensor, form) for tensor in tensors]
    assert all(len(tensor) == len(plain[0]) for tensor in plain), "tensors of different lengths"
    return plain


def linear(sources: Sequence[Raw], terms: Coefficients, form: str, out_form: str) -> Raw:
    """A linear form (Σ nᵢ xᵢ) / D, in the order of the sources, from the first product on.

    Sources whose coefficient is 0 are left out; the division is done only where D is not 1.

    Args:
        sources: arrays (n,) of one format; at least one.
        terms: a coefficient for each source.
        form: their format.
        out_form: format of the result.

    Returns:
        (n,) patterns of `out_form`.
    """
    used = [i for i, numerator in enumerate(terms.numerators) if numerator]
    plain = _all_plain(sources, form)
    if not used:
        return np.zeros(len(plain[0]), FORMATS[out_form].raw)
    module = operation("linear", _elements(plain))
    numerators = [terms.numerators[i] for i in used]
    return module.linear([plain[i] for i in used], numerators, terms.denominator, form, out_form)


def count_nonfinite(raw: Raw, form: str) -> int:
    """How many of the (n,) patterns are NaN or Inf.

    Integers only, so NumPy is exact on every machine, near the speed of memory, and `add` need not load a compiler.
    Releases the interpreter lock.
    """
    plain, infinity = _plain(raw, form), FORMATS[form].infinity
    sign, found = 1 << (plain.itemsize * 8 - 1), 0
    for start in range(0, len(plain), FINITE_ELEMENTS):
        part = plain[start : start + FINITE_ELEMENTS]
        # As integers the largest negative patterns are the largest unsigned ones, the largest positive the signed ones.
        if part.max() >= sign | infinity or part.view(f"i{plain.itemsize}").max() >= infinity:
            found += int(np.count_nonzero((part & plain.dtype.type(infinity)) == infinity))
    return found


def high_histograms(tensors: Sequence[Raw], base: Raw, form: str) -> Int64:
    """Count the upper halves (16 bits) of the magnitude keys of k task vectors.

    The key of τ = θ − θ₀ is the 31 bits of |τ| rounded to float32; keys order as magnitudes do.

    Returns:
        (k, 65,536) counts; those of several slices add up.
    """
    module = operation("high_histograms", _elements(tensors))
    return module.high_histograms(_all_plain(tensors, form), _plain(base, form), form)


def low_histograms(tensors: Sequence[Raw], base: Raw, form: str, bins: Sequence[int]) -> Int64:
    """Count the lower halves (15 bits) of those keys whose upper half is the contribution's bin. (k, 32,768)."""
    module = operation("low_histograms", _elements(tensors))
    return module.low_histograms(_all_plain(tensors, form), _plain(base, form), form, list(bins))


def tie_histograms(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    thresholds: Sequence[int],
    start: int,
    bins: Sequence[int] | None = None,
) -> Int64:
    """Count where the keys equal to the contribution's threshold lie.

    Args:
        tensors: k arrays (n,).
        base: (n,).
        form: format of both.
        thresholds: k keys.
        start: flat index of the first element.
        bins: None counts the upper parts of the index; k upper parts count the lower ones within them.

    Returns:
        (k, 262,144) counts; those of several slices add up.
    """
    assert start + len(base) <= INDEX_BINS << INDEX_SHIFT, "more than 2^36 elements cannot be cut by index"
    module = operation("tie_histograms", _elements(tensors))
    return module.tie_histograms(_all_plain(tensors, form), _plain(base, form), form, list(thresholds), start, bins)


def elected_signs(tensors: Sequence[Raw], base: Raw, form: str, terms: Coefficients, trim: Trim, start: int) -> Int64:
    """Count the elements in which the mass Σ nᵢ τ̂ᵢ is positive, and negative. (2,); counts of several slices add up."""
    module = operation("elected_signs", _elements(tensors))
    plain = _all_plain(tensors, form)
    return module.elected_signs(plain, _plain(base, form), form, list(terms.numerators), trim, start)


def ties(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    *,
    terms: Coefficients,
    trim: Trim,
    start: int,
    aggregate: Aggregate,
    zero_sign: int,
    scale: Coefficients,
) -> Raw:
    """θ₀ + (a·S)/(b·W) over A, the trimmed values τ̂ᵢ that carry the elected sign γ.

    γ is the sign of Σ nᵢ τ̂ᵢ, or `zero_sign` where that is 0. Mean: S = Σ_A nᵢ τ̂ᵢ, W = Σ_A nᵢ. Sum: W = D. Max: S is the
    largest nᵢ τ̂ᵢ by magnitude, W = D. Where the update is 0 the result is θ₀ itself, sign of zero included.

    Args:
        tensors: k arrays (n,).
        base: (n,).
        form: format of both.
        out_form: format of the result.
        terms: k weights nᵢ / D, none of them 0.
        trim: what survives of each task vector.
        start: flat index of the first element, for the cut-offs of `trim`.
        aggregate: how the agreeing values combine.
        zero_sign: −1, 0 or 1.
        scale: one coefficient a / b.

    Returns:
        (n,) patterns of `out_form`.
    """
    module, plain = operation("ties", _elements(tensors)), _all_plain(tensors, form)
    factor = (scale.numerators[0], scale.denominator)
    numerators = list(terms.numerators)
    return module.ties(
        plain,
        _plain(base, form),
        form,
        out_form,
        numerators,
        terms.denominator,
        trim,
        start,
        aggregate,
        zero_sign,
        factor,
    )


def delta_sum(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    *,
    terms: Coefficients,
    drop_below: int = 0,
    keys: Sequence[DrawKey] = (),
    start: int = 0,
) -> Raw:
    """θ₀ + (Σ nᵢ τᵢ)/D, the sum over the elements that are kept. Where it is 0 the result is θ₀ itself.

    Args:
        tensors: k arrays (n,).
        base: (n,).
        form: format of both.
        out_form: format of the result.
        terms: k coefficients.
        drop_below: an element is dropped where its 32-bit draw is below; 0 draws nothing.
        keys: k names of draws, where anything is drawn.
        start: index of the first element in the tensor, a multiple of 4.

    Returns:
        (n,) patterns of `out_form`.
    """
    assert start % 4 == 0, f"a slice starts at {start}, inside a draw of four"
    used = [i for i, numerator in enumerate(terms.numerators) if numerator]
    plain = _all_plain(tensors, form)
    return operation("delta_sum", _elements(tensors)).delta_sum(
        [plain[i] for i in used],
        _plain(base, form),
        form,
        out_form,
        [terms.numerators[i] for i in used],
        terms.denominator,
        drop_below,
        [keys[i] for i in used] if drop_below else [],
        start,
    )


def draws(key: DrawKey, start: int, count: int) -> npt.NDArray[np.uint32]:
    """Words `start` to `start + count` of a draw (Philox4x32-10). (count,)."""
    return operation("draws", count).draws(key, start, count)


def block_gram(tensors: Sequence[Raw], base: Raw | None, form: str) -> Float64:
    """Inner products of k tensors, or of their task vectors where there is a base, one matrix per canonical block.

    The slice starts at a multiple of BLOCK_ELEMENTS. Fold the rows of all slices with `fold_blocks`.

    Returns:
        (blocks, k, k) float64.
    """
    origin = None if base is None else _plain(base, form)
    return operation("block_gram", _elements(tensors)).block_gram(_all_plain(tensors, form), origin, form)


def block_l1(
    tensors: Sequence[Raw], base: Raw, form: str, *, drop_below: int, keys: Sequence[DrawKey], start: int
) -> Float64:
    """Σ|τ| over all elements and over the kept ones, per canonical block and contribution. (blocks, k, 2) float64."""
    module, plain = operation("block_l1", _elements(tensors)), _all_plain(tensors, form)
    return module.block_l1(plain, _plain(base, form), form, drop_below, list(keys), start)


def fold_blocks(rows: Float64) -> Float64:
    """Add up the rows of all blocks of a tensor: padded with +0 to a power of two, then halves onto each other.

    Args:
        rows: (blocks, …) float64, in the order of the blocks.

    Returns:
        (…) float64; zeros where there is no block.
    """
    count = len(rows)
    size = 1 << (count - 1).bit_length() if count else 1
    total = np.zeros((size, *rows.shape[1:]))
    total[:count] = rows
    with np.errstate(all="ignore"):
        while len(total) > 1:
            half = len(total) // 2
            total = total[:half] + total[half:]
    return total[0]


def block_count(n: int) -> int:
    """How many canonical blocks n elements fill."""
    return -(-n // BLOCK_ELEMENTS)
