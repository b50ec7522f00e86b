"""DAM by hand: shares per column, and one share for a bias."""

import struct
from fractions import Fraction

from make_worked import BASE, DIGESTS, TAU, example


def singles(*values: float) -> str:
    """Hex of little-endian float32."""
    return b"".join(struct.pack("<f", value) for value in values).hex()


# the first column from the first alone, the third from the second alone, the others their mean
columns = [(2.0, 1.0, 0.0, 1.0), (0.0, 1.0, 2.0, 1.0)]
thetas = [[b + Fraction(t, 8) for b, t in zip(BASE, tau, strict=True)] for tau in TAU[:2]]
mixed = [sum(Fraction(row[i % 4]) * theta[i] for row, theta in zip(columns, thetas, strict=True)) / 2 for i in range(8)]
rows = {"coefficient": {"w": {d: singles(*row) for d, row in zip(DIGESTS, columns, strict=False)}}}
example("dam", "columns", {}, mixed, contributions=thetas, shapes={"w": [2, 4]}, fitted=rows)

# a bias: three quarters and one and a half of each one's half, so (3 θ₁ + 6 θ₂) / 8
share = {"coefficient": {"w": {DIGESTS[0]: singles(0.75), DIGESTS[1]: singles(1.5)}}}
bias = [(3 * a + 6 * b) / 8 for a, b in zip(*thetas, strict=True)]
example("dam", "bias", {}, bias, contributions=thetas, fitted=share)
