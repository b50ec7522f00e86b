"""Normal numbers for strategies that search; a few thousand scalars, each named by its index."""

from fractions import Fraction

from conjoin.kernels import scalars
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.ops.streams import draws

_BITS, _SURE_BITS = 128, 100
"""Bits with which a number is tried first, and bits of it that are surely right."""


def normals(key: DrawKey, start: int, count: int) -> list[float]:
    """Standard normal numbers `start` to `start + count` of a draw.

    Number i takes the words w₀ … w₃ from 4i on: u = (2³²·w₁ + w₀ + ½) / 2⁶⁴ and v = (2³²·w₃ + w₂) / 2⁶⁴ give
    √(−2 log u) · cos(2πv) (Box and Muller 1958), the functions correctly rounded to 160 bits, the product to float64.
    """
    words = draws(key, 4 * start, 4 * count).tolist()
    pairs = [(w1 << 32 | w0, w3 << 32 | w2) for w0, w1, w2, w3 in zip(*(words[at::4] for at in range(4)), strict=True)]
    return [soon(u, v) or rounded(u, v) for u, v in pairs]


def rounded(u: int, v: int) -> float:
    """The number, as it is defined."""
    turn = 2 * scalars.acos(Fraction(-1))
    radius = scalars.sqrt(-2 * scalars.log(Fraction(2 * u + 1, 1 << 65)))
    return float(radius * scalars.cos(scalars.rounded(turn * Fraction(v, 1 << 64))))


def soon(u: int, v: int) -> float | None:
    """The same, an order of magnitude sooner; None where bounds of it round differently.

    The functions and the roundings to 160 bits put the radius off by less than 2^−_SURE_BITS of itself, the cosine by
    less than 2^−_SURE_BITS.
    """
    from mpmath import libmp

    log = libmp.mpf_log(libmp.from_man_exp(2 * u + 1, -65), _BITS, "n")
    radius = libmp.mpf_sqrt(libmp.mpf_shift(libmp.mpf_neg(log), 1), _BITS, "n")
    cosine = libmp.mpf_cos_pi(libmp.from_man_exp(v, -63), _BITS, "n")
    middle = libmp.mpf_mul(radius, cosine)
    slack = libmp.mpf_shift(radius, 1 - _SURE_BITS)
    ends = (libmp.to_rational(step(middle, slack)) for step in (libmp.mpf_sub, libmp.mpf_add))
    low, high = (int(numerator) / int(denominator) for numerator, denominator in ends)
    return low if low == high else None
