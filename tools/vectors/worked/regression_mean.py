"""RegMean by hand: two layers of one output and two inputs, (1, 2) and (3, 6)."""

from fractions import Fraction

from make_worked import DIGESTS, example, hexed

ROWS = [[Fraction(1), Fraction(2)], [Fraction(3), Fraction(6)]]
EXACT = {"ridge": "0", "off_diagonal": "1"}


def with_grams(
    name: str,
    params: dict[str, str],
    grams: list[list[int]],
    out: list[Fraction],
    shape: tuple[int, int] = (1, 2),
    out_format: str = "F64",
) -> None:
    """An example whose Gram matrices are of the side that has two."""
    side = "gram" if shape == (1, 2) else "gram_rows"
    extras = {side: {digest: {"w": hexed(gram, "F32")} for digest, gram in zip(DIGESTS, grams, strict=False)}}
    more = {"base": [Fraction(0)] * 2, "extras": extras, "shapes": {"w": list(shape)}, "out_format": out_format}
    example("regression_mean", name, params, out, contributions=ROWS, **more)


# diag(1, 3) and I, sum diag(2, 4): (1·1 + 3·1)/2 = 2 and (2·3 + 6·1)/4 = 3
diagonal = [[1, 0, 0, 3], [1, 0, 0, 1]]
with_grams("diagonal", EXACT, diagonal, [Fraction(2), Fraction(3)])
with_grams("rows", EXACT, diagonal, [Fraction(2), Fraction(3)], shape=(2, 1))
# [[2, 1], [1, 2]] and [[2, −1], [−1, 2]], sum 4I: (1, 2)·G₁ = (4, 5), (3, 6)·G₂ = (0, 9), together (4, 14)/4
correlated = [[2, 1, 1, 2], [2, -1, -1, 2]]
with_grams("correlated", EXACT, correlated, [Fraction(1), Fraction("3.5")])
# nine tenths of what is off the diagonal: (3.8, 4.9) and (.6, 9.3), together (4.4, 14.2)/4
with_grams("less-correlated", {**EXACT, "off_diagonal": "0.9"}, correlated, [Fraction("1.1"), Fraction("3.55")])
# nobody saw the second input: it takes the mean, 4; the first one has (1 + 3)/2 with any ridge
with_grams("unseen", {}, [[1, 0, 0, 0], [1, 0, 0, 0]], [Fraction(2), Fraction(4)])
# on the sum diag(2, 2) of diag(2, 0) and diag(0, 2) a ridge of ½ · 4/2 = 1: (1·2 + 2·1)/3 and (6·2 + 4·1)/3
ridge = {"ridge": "0.5", "off_diagonal": "1"}
with_grams("ridge", ridge, [[2, 0, 0, 0], [0, 0, 0, 2]], [Fraction(4, 3), Fraction(16, 3)], out_format="F32")
# no Gram: the mean
example("regression_mean", "mean", {}, [Fraction(2), Fraction(4)], contributions=ROWS, base=[Fraction(0)] * 2)
# without data: τ = (1, 0) and (0, 3) give G = diag(1, 0) and diag(0, 1), so each keeps its own input
own = [[Fraction(1), Fraction(0)], [Fraction(0), Fraction(3)]]
example(
    "regression_mean",
    "delta-gram",
    {**EXACT, "variant": "delta_gram"},
    [Fraction(1), Fraction(3)],
    contributions=own,
    base=[Fraction(0)] * 2,
    shapes={"w": [1, 2]},
)
