"""Crafted Ed25519 signatures, on which verifiers differ: plain affine arithmetic (RFC 8032), far too slow for use."""

import hashlib
from typing import TypeAlias

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point: TypeAlias = tuple[int, int]
ZERO: Point = (0, 1)


def x_of(y: int) -> int | None:
    """The even x of a point of this y; None where there is no such point."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square:
        return None
    return x if x % 2 == 0 else P - x


def add(a: Point, b: Point) -> Point:
    """The sum of two points."""
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P)
    return x % P, y % P


def times(factor: int, point: Point) -> Point:
    """`factor` times a point."""
    total = ZERO
    while factor:
        if factor & 1:
            total = add(total, point)
        point, factor = add(point, point), factor >> 1
    return total


def encode(point: Point) -> bytes:
    """The 32 bytes of a point."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def generator() -> Point:
    """The base point B."""
    y = 4 * pow(5, -1, P) % P
    x = x_of(y)
    assert x is not None
    return x, y


def of_order_8() -> Point:
    """A point of order 8."""
    y = 2
    while True:
        x = x_of(y)
        if x is not None and times(4, found := times(L, (x, y))) != ZERO:
            return found
        y += 1


def scalar(*parts: bytes) -> int:
    """SHA-512 of the parts, modulo the order L of the generator."""
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def sign(secret: int, nonce: int, message: bytes, *, key_off: Point = ZERO, nonce_off: Point = ZERO) -> tuple[str, str]:
    """The key and a signature in hex; A and R are moved by points that an honest signer leaves out."""
    key = encode(add(times(secret, generator()), key_off))
    commitment = encode(add(times(nonce, generator()), nonce_off))
    answer = (nonce + scalar(commitment, key, message) * secret) % L
    return key.hex(), (commitment + answer.to_bytes(32, "little")).hex()
