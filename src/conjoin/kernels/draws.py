"""Draws: random words named by seed, strategy, tensor, contribution and element; there is no state to advance."""

import hashlib
from fractions import Fraction

DrawKey = tuple[int, int, int, int]
"""Philox key (two words) and upper counter (two words) of one contribution's draws in one tensor."""


def draw_key(seed: bytes, strategy: str, tensor: str, contribution: str) -> DrawKey:
    """Name a stream of draws.

    Args:
        seed: 32 bytes.
        strategy: name of the strategy.
        tensor: name of the tensor.
        contribution: digest, 64 hexadecimal characters.

    Returns:
        The first 16 bytes of SHA-256("conjoin/draw/1" ‖ seed ‖ strategy ‖ 0 ‖ tensor ‖ 0 ‖ contribution) as four words.
    """
    named = b"".join(
        (b"conjoin/draw/1", seed, strategy.encode(), b"\0", tensor.encode(), b"\0", bytes.fromhex(contribution))
    )
    return words_of(hashlib.sha256(named).digest())


def words_of(digest: bytes) -> DrawKey:
    """The first four little-endian words of a digest."""
    a, b, c, d = (int.from_bytes(digest[at : at + 4], "little") for at in (0, 4, 8, 12))
    return a, b, c, d


def drop_threshold(keep: Fraction) -> int:
    """T = ⌊(1 − keep)·2³² + ½⌋: an element is dropped where its 32-bit word is below T. 0 drops nothing."""
    return ((1 - keep) * 2**32 + Fraction(1, 2)).__floor__()


def effective_keep(drop_below: int) -> Fraction:
    """The probability with which an element is really kept: (2³² − T) / 2³²."""
    return Fraction(2**32 - drop_below, 2**32)
