"""Write the worked examples tests/vectors/<strategy>/worked-*.json: derived by hand, none of our arithmetic used.

The inputs are a 2×4 base and three task vectors in eighths, small enough to merge with a pencil. Results are exact
rationals, rounded to the output format by the standard library (F64) or by hand (the few float32 patterns below). Only
the draws of DARE need a machine: Philox is written out here once more, in Python's integers, from its paper.
"""

import hashlib
import json
import runpy
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[2] / "tests" / "vectors"
PROVENANCE = "worked example: derived by hand from the formula in tools/vectors/make_worked.py, not computed by conjoin"

DIGESTS = ["11" * 32, "22" * 32, "33" * 32]
SEED = {"contribution": bytes(32).hex(), "root": bytes(32).hex()}
BASE = [Fraction(v) for v in ("1", "-2", "0.5", "3", "0", "1", "-1", "2")]
TAU = [[8, -4, 1, 0, 2, -6, 3, 5], [4, 6, -2, 0, -3, -1, 7, -5], [-1, 2, 3, 0, 5, -4, -8, 6]]
SUM = [11, 4, 2, 0, 4, -11, 2, 6]
"""Στ, in eighths."""


def hexed(values: list[Fraction] | list[float], form: str = "F64") -> str:
    """F64 patterns, or F32; a rational is rounded by the standard library, for F32 to float64 first."""
    return b"".join(struct.pack("<d" if form == "F64" else "<f", float(value)) for value in values).hex()


def example(
    strategy: str,
    name: str,
    params: dict[str, Any],
    out: list[Fraction] | list[float],
    *,
    contributions: list[list[Fraction]] | None = None,
    weights: tuple[str, ...] = ("1", "1", "1"),
    **more: Any,
) -> None:
    """Write one file; the contributions are the base plus the three task vectors unless given.

    `more` may hold `base` (list), `shapes`, `extras`, `fitted` and `out_format` as a vector file has, and `beside`:
    what is written beside the tensor, by `w|SIDE`.
    """
    thetas = contributions or [[b + Fraction(t, 8) for b, t in zip(BASE, tau, strict=True)] for tau in TAU]
    digests = DIGESTS[: len(thetas)]
    value = {
        "strategy": strategy,
        "version": 1,
        "provenance": PROVENANCE,
        "params": params,
        "format": "F64",
        "base": {"w": hexed(more.pop("base", BASE[: len(thetas[0])]))},
        "contributions": {digest: {"w": hexed(theta)} for digest, theta in zip(digests, thetas, strict=True)},
        "weights": {d: str(Fraction(w)) for d, w in zip(digests, weights, strict=False)},
        "seeds": SEED,
        "out_format": "F64",
        "out": {"w": hexed(out, more.get("out_format", "F64")), **more.pop("beside", {})},
        **more,
    }
    folder = TARGET / strategy
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"worked-{name}.json").write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def plus(update: list[Any]) -> list[Fraction]:
    """The base plus an update in eighths."""
    return [b + Fraction(str(u)) / 8 for b, u in zip(BASE, update, strict=True)]


def linear_family() -> None:
    """Means and sums of the three."""
    example("weight_average", "mean", {}, [b + Fraction(s, 24) for b, s in zip(BASE, SUM, strict=True)])
    # (τ₁ + 2τ₂ + τ₃)/4: first element (8 + 8 − 1)/4 = 3.75
    quarter = ["3.75", "2.5", "0", "0", "0.25", "-3", "2.25", "0.25"]
    example("linear", "weighted", {}, plus(quarter), weights=("1", "2", "1"))
    # without normalisation: 4 times that base and 4 times the quarter
    whole = [4 * b + Fraction(q) / 2 for b, q in zip(BASE, quarter, strict=True)]
    example("linear", "sum", {"normalize": "false"}, whole, weights=("1", "2", "1"))
    half = ["5.5", "2", "1", "0", "2", "-5.5", "1", "3"]
    example("task_arithmetic", "half", {"scale": "0.5"}, plus(half))


def ties_family() -> None:
    """Trim to one half per tensor: 8 −4 −6 5 | 4 6 7 −5 | 5 −4 −8 6 stay, by position; see the rows."""
    # τ̂₁ = 8 −4 . . | . −6 . 5     τ̂₂ = 4 6 . . | . . 7 −5     τ̂₃ = . . . . | 5 −4 −8 6
    # sums  12  2 0 0 | 5 −10 −1 6  →  signs + + . . | + − − +
    tensor = {"density": "0.5", "trim_scope": "tensor"}
    example("ties", "mean", tensor, plus([6, 6, 0, 0, 5, -5, -8, "5.5"]))
    example("ties", "model", {"density": "0.5"}, plus([6, 6, 0, 0, 5, -5, -8, "5.5"]))
    example("ties", "sum", {**tensor, "agg": "sum"}, plus([12, 6, 0, 0, 5, -10, -8, 11]))
    example("ties", "max", {**tensor, "agg": "max"}, plus([8, 6, 0, 0, 5, -6, -8, 6]))
    example("ties", "scaled", {**tensor, "scale": "0.5"}, plus([3, 3, 0, 0, "2.5", "-2.5", -4, "2.75"]))
    # the authors' code keeps one more: 3 of τ₁ at (1,2), −3 of τ₂ at (1,0), 3 of τ₃ at (0,2)
    example("ties", "official", {**tensor, "count_rule": "official"}, plus([6, 6, 3, 0, 5, -5, 5, "5.5"]))
    # k = 1, keep 2 of 4 where three share the magnitude 4: `exact` takes the first, `threshold` all
    one = [[b + Fraction(t, 8) for b, t in zip(BASE, (1, -4, 4, -4), strict=False)]]
    exact = {"density": "0.5", "count_rule": "exact"}
    example(
        "ties",
        "exact",
        exact,
        [BASE[0], *[b + Fraction(t, 8) for b, t in zip(BASE[1:], (-4, 4), strict=False)], BASE[3]],
        contributions=one,
    )
    example("ties", "threshold", {"density": "0.5"}, [BASE[0], *one[0][1:]], contributions=one)
    # +4 and −4 cancel in the first element; the majority of the others is −, so −4 wins there; `plus` takes +4
    pair = [[b + Fraction(t, 8) for b, t in zip(BASE, tau, strict=False)] for tau in ((4, -2, -2), (-4, -2, -2))]
    example("ties", "majority", {"density": "1"}, plus([-4, -2, -2, *[0] * 5])[:3], contributions=pair)
    example("ties", "plus", {"density": "1", "zero_sign": "plus"}, plus([4, -2, -2, *[0] * 5])[:3], contributions=pair)


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10, Salmon et al., SC 2011, section 3.3."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(second >> 32) ^ c[1] ^ k[0], second % 2**32, (first >> 32) ^ c[3] ^ k[1], first % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def draws(strategy: str, digest: str, count: int) -> list[int]:
    """The first draws of a contribution in the tensor `w` under a seed of zeros."""
    named = b"conjoin/draw/1" + bytes(32) + strategy.encode() + b"\0w\0" + bytes.fromhex(digest)
    name = struct.unpack("<4I", hashlib.sha256(named).digest()[:16])
    stream = [word for at in range((count + 3) // 4) for word in philox([at, 0, *name[2:]], list(name[:2]))]
    return stream[:count]


def dare_family() -> None:
    """Drop with probability one half; what is kept counts twice."""
    kept = [[int(word >= 2**31) for word in draws("dare", digest, 8)] for digest in DIGESTS]
    update = [sum(2 * m[i] * tau[i] for m, tau in zip(kept, TAU, strict=True)) for i in range(8)]
    example("dare", "half", {"density": "0.5", "scale": "1"}, plus(update))
    example("dare", "all", {"density": "1", "scale": "0.5"}, plus(["5.5", "2", "1", "0", "2", "-5.5", "1", "3"]))
    # rescaled by the L1 norm: Σ|τ| over all elements by Σ|τ| over those kept; the update is rounded, then the sum
    factors = [
        Fraction(sum(map(abs, tau)), sum(abs(t) * m for t, m in zip(tau, mask, strict=True)))
        for tau, mask in zip(TAU, kept, strict=True)
    ]
    total = [sum(f * m[i] * tau[i] for f, m, tau in zip(factors, kept, TAU, strict=True)) / 8 for i in range(8)]
    rescaled = [b + Fraction(float(t)) for b, t in zip(BASE, total, strict=True)]
    example("dare", "l1", {"density": "0.5", "scale": "1", "rescale": "l1"}, rescaled)


def slerp_family() -> None:
    """Right angles, whose coefficients are square roots known to everybody, as float32 patterns written out by hand."""

    def single(pattern: int) -> Fraction:
        return Fraction(struct.unpack("<f", struct.pack("<I", pattern))[0])

    root_half, root_third, three_eighths = single(0x3F3504F3), single(0x3F13CD3A), single(0x3F1CC471)
    axes = [[Fraction(1), Fraction(0)], [Fraction(0), Fraction(2)]]
    # sin 45° / sin 90° = √½ on both, applied to vectors of length 1 and 2
    example("slerp", "right-angle", {}, [root_half, 2 * root_half], contributions=axes)
    # unit directions √½ each, times the mean length 1.5; 1.5·√½ = 1.0606601717798212, of which the second takes half
    norm = [single(0x3F87C3B6), 2 * single(0x3F07C3B6)]
    example("slerp", "norm-lerp", {"variant": "norm_lerp"}, norm, contributions=axes)
    units = [[Fraction(int(i == j)) for j in range(3)] for i in range(3)]
    example("slerp", "karcher", {}, [root_third] * 3, contributions=units)
    # e₁ and e₂ meet at (√½, √½, 0); a third of the way to e₃ is √¾ of that and ½ of e₃: √¾·√½ = √⅜
    example("slerp", "fold", {"reduce": "fold"}, [three_eighths, three_eighths, Fraction(1, 2)], contributions=units)
    example("slerp", "tree", {"reduce": "tree"}, [three_eighths, three_eighths, Fraction(1, 2)], contributions=units)
    # the ends of the arc are the contributions themselves; a third of the way is 30°: sin 60° and sin 30°
    example("slerp", "end", {"t": {DIGESTS[0]: "1"}}, [Fraction(1), Fraction(0)], contributions=axes)
    weighted = [single(0x3F5DB3D7), Fraction(1)]
    example("slerp", "third", {}, weighted, contributions=axes, weights=("2", "1"))
    # parallel vectors: the straight line, exact
    parallel = [[Fraction(3), Fraction(-6)], [Fraction(6), Fraction(-12)]]
    example("slerp", "parallel", {}, [Fraction("4.5"), Fraction(-9)], contributions=parallel)
    zero = [[Fraction(0), Fraction(0)], [Fraction(6), Fraction(-12)]]
    example("slerp", "zero", {}, [Fraction(3), Fraction(-6)], contributions=zero)
    # task vectors at a right angle, added to the base (1, −2)
    moved = [[Fraction(1) + 8, Fraction(-2)], [Fraction(1), Fraction(-2) + 16]]
    example("slerp", "delta", {"target": "delta"}, [1 + 8 * root_half, -2 + 16 * root_half], contributions=moved)


if __name__ == "__main__":
    for path in sorted((Path(__file__).parent / "worked").glob("*.py")):
        runpy.run_path(str(path), run_name="worked")
    linear_family()
    ties_family()
    dare_family()
    slerp_family()
    print(f"wrote {len(list(TARGET.glob('*/worked-*.json')))} worked examples")
