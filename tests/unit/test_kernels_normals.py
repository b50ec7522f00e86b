"""Normal numbers: golden values, independence of cuts, the right distribution."""

import math

from conjoin.kernels import draws, normals
from conjoin.kernels.ops.normals import rounded, soon
from conjoin.testing.strategy_suite import backend

KEY = (1, 2, 3, 4)
GOLDEN = ["0x1.0d1daed650fdbp+0", "-0x1.211d33d72e4e3p-1", "-0x1.0bf6ec6d2648ep-3"]


def test_golden():
    assert [x.hex() for x in normals(KEY, 0, 3)] == GOLDEN
    for arithmetic in ("reference", "compiled"):
        with backend(arithmetic):
            assert [x.hex() for x in normals(KEY, 1, 2)] == GOLDEN[1:]


def test_the_formula():
    w = draws(KEY, 40, 4).tolist()
    u, v = (w[1] * 2**32 + w[0] + 0.5) / 2**64, (w[3] * 2**32 + w[2]) / 2**64
    assert math.isclose(normals(KEY, 10, 1)[0], math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v), rel_tol=1e-12)


def test_distribution():
    found = sorted(normals((9, 9, 9, 9), 0, 1500))
    assert abs(sum(found) / 1500) < 0.1
    assert abs(sum(x * x for x in found) / 1500 - 1) < 0.15
    gaps = [abs((i + 0.5) / 1500 - (1 + math.erf(x / math.sqrt(2))) / 2) for i, x in enumerate(found)]
    assert max(gaps) < 0.045  # Kolmogorov–Smirnov at 0.5 %


def test_none():
    assert normals(KEY, 5, 0) == []


def test_the_short_way_gives_what_is_defined():
    edges = [(0, 0), (2**64 - 1, 2**63), (0, 1 << 62), (1, 3 << 62), (2, (1 << 62) + 1), (3, 2**64 - 1)]
    w = draws(KEY, 0, 200).tolist()
    for u, v in [*edges, *((a << 32 | b, c << 32 | d) for a, b, c, d in zip(*[iter(w)] * 4, strict=True))]:
        assert soon(u, v) in (rounded(u, v), None)
    assert soon(0, 1 << 62) is None  # next to nothing of a full circle is too little to be sure of
