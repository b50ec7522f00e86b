"""Normal numbers for strategies that search; a handful of scalars, each named by its index."""

from fractions import Fraction

from conjoin.kernels import scalars
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.ops.streams import draws


def normals(key: DrawKey, start: int, count: int) -> list[float]:
    """Standard normal numbers `start` to `start + count` of a draw.

    Number i takes the words w₀ … w₃ from 4i on: u = (2³²·w₁ + w₀ + ½) / 2⁶⁴ and v = (2³²·w₃ + w₂) / 2⁶⁴ give
    √(−2 log u) · cos(2πv) (Box and Muller 1958), the functions correctly rounded to 160 bits, the product to float64.
    """
    words = draws(key, 4 * start, 4 * count).tolist()
    turn = 2 * scalars.acos(Fraction(-1))
    found: list[float] = []
    for w0, w1, w2, w3 in zip(*(words[at::4] for at in range(4)), strict=True):
        u = Fraction(2 * (w1 << 32 | w0) + 1, 1 << 65)
        radius = scalars.sqrt(-2 * scalars.log(u))
        found.append(float(radius * scalars.cos(scalars.rounded(turn * Fraction(w3 << 32 | w2, 1 << 64)))))
    return found
