"""SafeMERGE by hand: V = diag(1, 0) sees the first row of an update only."""

from fractions import Fraction

from make_worked import DIGESTS, example

ZERO = [Fraction(0)] * 4
FINETUNED, SAFE, UNALIGNED = DIGESTS
ROLES = {SAFE: "safe", UNALIGNED: "unaligned"}


def merged(name: str, update: list[str], safe: list[str], out: list[str], **params: str) -> None:
    """The base 0 is aligned, the unaligned model is −V."""
    contributions = [[Fraction(text) for text in row] for row in (update, safe, ["-1", "0", "0", "0"])]
    found = [Fraction(text) for text in out]
    given = {"role": ROLES, **params}
    example("safe_merge", name, given, found, base=ZERO, contributions=contributions, shapes={"w": [2, 2]})


# ΔW = [[1, 0], [1, 0]]: VVᵀΔW = [[1, 0], [0, 0]], ρ = 1/√2: stays
merged("kept", ["1", "0", "1", "0"], ["5", "5", "5", "5"], ["1", "0", "1", "0"])
# ΔW = [[.1, 0], [1, 0]]: ρ = .1/√1.01 = .0995: four fifths of it, one fifth of the safe one
merged("mixed", ["0.1", "0", "1", "0"], ["0", "5", "6", "10"], ["0.08", "1", "2", "2"])
# ρ = 1/√2 is below .75; half and half
merged("half", ["1", "0", "1", "0"], ["0", "5", "6", "10"], ["0.5", "2.5", "3.5", "5"], threshold="0.75", share="0.5")
# an update of 0 has no direction: ρ = 0
merged("no-update", ["0", "0", "0", "0"], ["0", "5", "6", "10"], ["0", "1", "1.2", "2"])
# below 0 everything stays, even at right angles to V
merged("never", ["0", "0", "1", "0"], ["0", "5", "6", "10"], ["0", "0", "1", "0"], threshold="-1")
# a vector stays as it was fine-tuned
vector = [[Fraction(3)], [Fraction(8)], [Fraction(-1)]]
example("safe_merge", "vector", {"role": ROLES}, vector[0], base=ZERO[:1], contributions=vector)
