"""Exact coefficients and correctly rounded scalars; a handful of numbers per tensor, never arrays."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

from conjoin.errors import BadParameterError

Number = TypeVar("Number", Fraction, float)

PRECISION_BITS = 160
"""Bits of scalar functions' results; what is made of them is then rounded to float64."""
SLACK_BITS = 10
"""Units in the last place, as a power of two, by which mpmath is allowed to be off."""
EXPONENT_MAX = 2**16
"""Largest magnitude of an exponent."""
EXACT_BITS = 2**13
"""Length up to which a power is looked at for being exact."""
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
    ratios = [value.as_integer_ratio() for value in values]
    distinct = dict(zip(ratios, values, strict=True))  # a hundred contributions mostly have one weight
    rounded = {ratio: nearest_f32(value) for ratio, value in distinct.items()}
    if all(Fraction(rounded[ratio]) == value for ratio, value in distinct.items()):
        return Coefficients(tuple(rounded[ratio] for ratio in ratios), 1.0)
    common = math.lcm(*(value.denominator for value in distinct.values()))
    whole = {ratio: int(value * common) for ratio, value in distinct.items()}
    if common <= WHOLE_MAX and all(abs(number) <= WHOLE_MAX for number in whole.values()):
        return Coefficients(tuple(float(whole[ratio]) for ratio in ratios), float(common))
    return Coefficients(tuple(rounded[ratio] for ratio in ratios), 1.0)


@functools.lru_cache(1024)
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


def rounded(value: Fraction) -> Fraction:
    """The number of PRECISION_BITS bits nearest to an exact one, ties to even; keeps long computations short."""
    return _to_bits(value, PRECISION_BITS)


def sqrt(value: Fraction) -> Fraction:
    """Square root of a number that is not negative, correctly rounded to PRECISION_BITS."""
    return _nearest(_root, (value,), rounded)


def acos(value: Fraction) -> Fraction:
    """Angle (radians) of a cosine between −1 and 1, correctly rounded to PRECISION_BITS."""
    return _nearest(_acos, (value,), rounded)


def sin(angle: Fraction) -> Fraction:
    """Sine of an angle (radians), correctly rounded to PRECISION_BITS."""
    return _nearest(_sin, (angle,), rounded)


def cos(angle: Fraction) -> Fraction:
    """Cosine of an angle (radians), correctly rounded to PRECISION_BITS."""
    return _nearest(_cos, (angle,), rounded)


def exp(value: Fraction) -> Fraction:
    """Exponential of a number of magnitude up to EXPONENT_MAX, correctly rounded to PRECISION_BITS."""
    return _nearest(_exp, (value,), rounded)


def log(value: Fraction) -> Fraction:
    """Natural logarithm of a positive number, correctly rounded to PRECISION_BITS."""
    return _nearest(_log, (value,), rounded)


def power(base: Fraction, exponent: Fraction) -> Fraction:
    """A number that is not negative to a power, correctly rounded to PRECISION_BITS. 0 to the power 0 is 1."""
    return _nearest(_power, (base, exponent), rounded)


def nearest_f64(function: Callable[..., Fraction], *arguments: Fraction) -> float:
    """The float64 nearest to a function of this module at exact arguments, ties to even; rounded once.

    Raises:
        BadParameterError: it is beyond the range of float64.
    """
    try:
        return _nearest(_ENCLOSURES[function], arguments, float)
    except OverflowError:
        raise BadParameterError("a computed coefficient is beyond the range of float64") from None


def _to_bits(value: Fraction, bits: int) -> Fraction:
    """The number of so many bits nearest to an exact one, ties to even."""
    if not value:
        return value
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length()
    if Fraction(2) ** exponent > abs(value):
        exponent -= 1
    unit = Fraction(2) ** (exponent + 1 - bits)
    return round(value / unit) * unit


Enclosure = tuple[Fraction, Fraction]


def _nearest(
    enclosure: Callable[..., Enclosure], arguments: tuple[Fraction, ...], rounding: Callable[[Fraction], Number]
) -> Number:
    """Round a function's value once: the precision grows until all of an enclosure rounds alike (Ziv 1991).

    That ends: at a rational argument these functions have an irrational value, which no boundary of rounding is, or one
    that the enclosure gives exactly.
    """
    precision = PRECISION_BITS + 32
    while True:
        low, high = enclosure(*arguments, precision)
        if (near := rounding(low)) == rounding(high):
            return near
        precision *= 2


def _enclosure(function: str, value: Fraction, precision: int) -> Enclosure:
    """Bounds of a function of mpmath's integer arithmetic; no global precision is read or changed.

    The function is taken at the numbers of `precision` bits around the value, which are the value itself where it is
    short. mpmath is off by less than a unit in the last place; 2^SLACK_BITS are allowed for. Of how mpmath computes
    (by gmpy or by Python's integers, in which version) nothing is seen but that.
    """
    from mpmath import libmp

    ends = {libmp.from_rational(value.numerator, value.denominator, precision, way) for way in "fc"}
    found = [_fraction(getattr(libmp, function)(end, precision, "n")) for end in ends]
    at = [_fraction(end) for end in ends]
    low, high = min(found), max(found)
    slack = max(abs(low), abs(high)) / 2 ** (precision - SLACK_BITS)
    if function in ("mpf_sin", "mpf_cos"):  # of slope 1 at most, and not monotonic
        slack += max(at) - min(at)
    return low - slack, high + slack


def _fraction(number: Any) -> Fraction:
    """The exact value of a number of mpmath, in Python's own integers."""
    from mpmath import libmp

    numerator, denominator = libmp.to_rational(number)
    return Fraction(int(numerator), int(denominator))


def _acos(value: Fraction, precision: int) -> Enclosure:
    _require(abs(value) <= 1, "the arc cosine of a number beyond 1")
    return _enclosure("mpf_acos", value, precision)


def _sin(value: Fraction, precision: int) -> Enclosure:
    return _enclosure("mpf_sin", value, precision)


def _cos(value: Fraction, precision: int) -> Enclosure:
    return _enclosure("mpf_cos", value, precision)


def _exp(value: Fraction, precision: int) -> Enclosure:
    _require(abs(value) <= EXPONENT_MAX, f"an exponential of more than {EXPONENT_MAX}")
    return _enclosure("mpf_exp", value, precision)


def _log(value: Fraction, precision: int) -> Enclosure:
    _require(value > 0, "the logarithm of a number that is not positive")
    return _enclosure("mpf_log", value, precision)


def _root(value: Fraction, precision: int) -> Enclosure:
    _require(value >= 0, "the square root of a negative number")
    exact = _exact_power(value, Fraction(1, 2))
    return _enclosure("mpf_sqrt", value, precision) if exact is None else (exact, exact)


def _power(base: Fraction, exponent: Fraction, precision: int) -> Enclosure:
    _require(base > 0 or (base == 0 and exponent >= 0), "a power of a number that is not positive")
    if (exact := _exact_power(base, exponent)) is not None:
        return exact, exact
    bounds = [exponent * end for end in _log(base, precision)]
    return _exp(min(bounds), precision)[0], _exp(max(bounds), precision)[1]


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    """The power where it is rational and no longer than EXACT_BITS; None elsewhere.

    A rational number that is longer, not counting factors of two, lies on no boundary of rounding.
    """
    if not base or not exponent or base == 1:
        return Fraction(int(base == 1 or not exponent))
    _require(abs(exponent) <= EXPONENT_MAX, f"a power of more than {EXPONENT_MAX}")
    roots = [_whole_root(number, exponent.denominator) for number in (base.numerator, base.denominator)]
    if None in roots:
        return None
    root = Fraction(*(root for root in roots if root))
    odd = max(number // (number & -number) for number in (root.numerator, root.denominator))
    if odd > 1 and odd.bit_length() * abs(exponent.numerator) > EXACT_BITS:
        return None
    return root**exponent.numerator


def _whole_root(number: int, degree: int) -> int | None:
    """The root of a positive whole number, if it is whole."""
    while degree % 2 == 0:
        root = math.isqrt(number)
        if root * root != number:
            return None
        number, degree = root, degree // 2
    if degree == 1:
        return number
    if number == 1 or number.bit_length() <= degree:
        return 1 if number == 1 else None
    low, high = 1, 1 << -(-number.bit_length() // degree)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if middle**degree >= number else (middle + 1, high)
    return low if low**degree == number else None


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise BadParameterError(f"no coefficient is {problem}")


_ENCLOSURES: dict[Callable[..., Fraction], Callable[..., Enclosure]] = {
    sqrt: _root,
    acos: _acos,
    sin: _sin,
    cos: _cos,
    exp: _exp,
    log: _log,
    power: _power,
}


def as_coefficient(value: Fraction) -> Fraction:
    """A computed number as a coefficient: a simple ratio stays exact, any other is rounded to float64, then float32."""
    if value.denominator <= WHOLE_MAX and abs(value.numerator) <= WHOLE_MAX:
        return value
    return Fraction(nearest_f32(Fraction(float(value))))
