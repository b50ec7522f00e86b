"""Genomes on the shared example: evolutionary_merge and genetic_merge apply the same ones."""

import hashlib
import struct
from fractions import Fraction

from make_worked import BASE, DIGESTS, TAU, example, philox, plus

SEED = bytes(range(32))


def genome(inner: str, normalize: str, genes: list[list[str]]) -> dict[str, object]:
    """Values of an asset: one weight and density for each of the three."""
    rows = {digest: [pair] for digest, pair in zip(DIGESTS, genes, strict=True)}
    return {"seed": SEED.hex(), "inner": inner, "normalize": normalize, "groups": [["*"]], "genes": rows}


def dare_ties(strategy: str) -> list[Fraction]:
    """Weights ½, 1, ½; all of τ₁, half of τ₂ and half of τ₃, whose values count twice; the mean of those that agree."""
    thinned = [list(map(Fraction, TAU[0]))]
    for digest, tau in zip(DIGESTS[1:], TAU[1:], strict=True):
        named = b"conjoin/draw/1" + SEED + strategy.encode() + b"\0w\0" + bytes.fromhex(digest)
        words = struct.unpack("<4I", hashlib.sha256(named).digest()[:16])
        stream = [word for block in (0, 1) for word in philox([block, 0, words[2], words[3]], [words[0], words[1]])]
        thinned.append([Fraction(2 * t * (word >= 2**31)) for t, word in zip(tau, stream, strict=True)])
    weights = [Fraction(1, 2), Fraction(1), Fraction(1, 2)]
    mass = [sum(w * row[i] for w, row in zip(weights, thinned, strict=True)) for i in range(8)]
    signs = [(m > 0) - (m < 0) for m in mass]
    majority = (sum(signs) > 0) - (sum(signs) < 0)
    update: list[Fraction] = []
    for i, sign in enumerate(signs):
        agreeing = [(w, row[i]) for w, row in zip(weights, thinned, strict=True) if row[i] * (sign or majority) > 0]
        total = sum((w for w, _ in agreeing), Fraction(0))
        update.append(sum(w * value for w, value in agreeing) / total / 8 if agreeing else Fraction(0))
    # the update is rounded to float64 before it is added
    return [b + Fraction(float(u)) for b, u in zip(BASE, update, strict=True)]


for name in ("evolutionary_merge", "genetic_merge"):
    pairs = [["0.5", "1"], ["1", "0.5"], ["0.5", "0.5"]]
    example(name, "dare-ties", {}, dare_ties(name), fitted=genome("dare_ties", "true", pairs))

    # one half of τ₁ and τ₂ and a quarter of τ₃ by magnitude, weights ½, 1, ½:
    # τ̂₁ = 8 −4 . . | . −6 . 5     τ̂₂ = 4 6 . . | . . 7 −5     τ̂₃ = . . . . | . . −8 6
    # ½τ̂₁ + τ̂₂ + ½τ̂₃ = 8 4 0 0 | 0 −3 3 ½, so the means over those that agree are
    # (4 + 4)/1½ = 16/3, 6, 0, 0 | 0, −6, 7, (2½ + 3)/1 = 5½
    third = BASE[0] + Fraction(float(Fraction(16, 24)))
    ties = [third, *plus([0, 6, 0, 0, 0, -6, 7, "5.5"])[1:]]
    quarter = genome("ties", "true", [["0.5", "0.5"], ["1", "0.5"], ["0.5", "0.25"]])
    example(name, "ties", {"inner": "ties"}, ties, fitted=quarter)

    # added up instead: ½·8 + 4 = 8, 6, 0, 0 | 0, −3, 7, 2½ + 3 = 5½
    added = {"inner": "ties", "normalize": "false"}
    held = genome("ties", "false", [["0.5", "0.5"], ["1", "0.5"], ["0.5", "0.25"]])
    example(name, "ties-sum", added, plus([8, 6, 0, 0, 0, -3, 7, "5.5"]), fitted=held)

    # (τ₁ + 2τ₂ + τ₃)/4, and ½τ₁ + τ₂ + ½τ₃
    weighted = [["0.5", "1"], ["1", "1"], ["0.5", "1"]]
    mean = ["3.75", "2.5", "0", "0", "0.25", "-3", "2.25", "0.25"]
    example(name, "linear", {"inner": "linear"}, plus(mean), fitted=genome("linear", "true", weighted))
    whole = {"inner": "task_arithmetic", "normalize": "false"}
    twice = plus([2 * Fraction(value) for value in mean])
    example(name, "task-arithmetic", whole, twice, fitted=genome("task_arithmetic", "false", weighted))

    # the contribution that has all the weight, as it is, however little of it is to be kept
    alone = [b + Fraction(t, 8) for b, t in zip(BASE, TAU[1], strict=True)]
    example(name, "alone", {}, alone, fitted=genome("dare_ties", "true", [["0", "1"], ["0.25", "0.1"], ["0", "1"]]))
