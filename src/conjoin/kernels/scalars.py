"""Exact coefficients and correctly rounded scalars; a handful of numbers per tensor, never arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from conjoin.errors import BadParameterError

PRECISION_BITS = 160
"""Working precision of scalar functions; their results are then rounded to float64."""
WHOLE_MAX = 2**24
"""Largest whole number below which every whole number is a float32."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """A linear form's coefficients: the i-th is numerators[i] / denominator. All are float32 values."""

    numerators: tuple[float, ...]
    denominator: float


def coefficients(values: Sequence[Fraction]) -> Coefficients:
    """Write exact coefficients so that a linear form stays exact as long as it can.

    Float32 values are kept as they are. Otherwise whole numerators over the common denominator, where these are small;
    the one division then makes the mean of equal inputs exact. Otherwise each is rounded to float32.

    Raises:
        BadParameterError: a coefficient is beyond the range of float32.
    """
    rounded = [nearest_f32(value) for value in values]
    if all(Fraction(near) == value for near, value in zip(rounded, values, strict=True)):
        return Coefficients(tuple(rounded), 1.0)
    common = math.lcm(*(value.denominator for value in values))
    whole = [int(value * common) for value in values]
    if common <= WHOLE_MAX and all(abs(number) <= WHOLE_MAX for number in whole):
        return Coefficients(tuple(float(number) for number in whole), float(common))
    return Coefficients(tuple(rounded), 1.0)


def nearest_f32(value: Fraction) -> float:
    """The float32 nearest to an exact number, ties to even, as a Python float.

    Raises:
        BadParameterError: it is beyond the range of float32.
    """
    size = abs(value)
    if not size:
        return 0.0
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - 23, -149)
    near = round(size / unit) * unit
    if near >= 2**128:
        raise BadParameterError(f"coefficient {float(value):.6g} is beyond the range of float32")
    return float(near) if value > 0 else -float(near)


def _apply(function: str | None, value: Fraction) -> Fraction:
    """A function of mpmath's integer arithmetic, to PRECISION_BITS; no global precision is read or changed."""
    from mpmath import libmp

    number = libmp.from_rational(value.numerator, value.denominator, PRECISION_BITS, "n")
    if function is not None:
        number = getattr(libmp, function)(number, PRECISION_BITS, "n")
    return Fraction(*libmp.to_rational(number))


def rounded(value: Fraction) -> Fraction:
    """The number of PRECISION_BITS bits nearest to an exact one; keeps long computations short."""
    return _apply(None, value)


def sqrt(value: Fraction) -> Fraction:
    """Square root, to PRECISION_BITS."""
    return _apply("mpf_sqrt", value)


def acos(value: Fraction) -> Fraction:
    """Angle (radians) of a cosine between −1 and 1, to PRECISION_BITS."""
    return _apply("mpf_acos", value)


def sin(angle: Fraction) -> Fraction:
    """Sine of an angle (radians), to PRECISION_BITS."""
    return _apply("mpf_sin", angle)


def cos(angle: Fraction) -> Fraction:
    """Cosine of an angle (radians), to PRECISION_BITS."""
    return _apply("mpf_cos", angle)


def as_coefficient(value: Fraction) -> Fraction:
    """A computed number as a coefficient: a simple ratio stays exact, any other is rounded to float64, then float32."""
    if value.denominator <= WHOLE_MAX and abs(value.numerator) <= WHOLE_MAX:
        return value
    return Fraction(nearest_f32(Fraction(float(value))))
