"""How a leaf travels when the other side has one like it: bytes ↔ fewer bytes. What arrives is judged by its digest.

A fine-tune changes few bits of its base, so the two XORed are mostly zeros, most of all in the bytes that hold sign and
exponent: those are put side by side (byte planes) and compressed with zstd. Identity is always the raw bytes; a wrong
base, a hostile delta or a fault only make a leaf that fails its digest.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from conjoin.errors import ProtocolError
from conjoin.store.files import Bytes

if TYPE_CHECKING:
    import numpy as np

LEVEL = 1
"""Of zstd: on such planes as small as level 3, at several times its speed."""
WORTH = 0.9
"""A delta that is not smaller than this share of the leaf is not sent."""
_WINDOW_BYTES_MAX = 8 * 1024 * 1024
_ITEMS = (1, 2, 4, 8)
_NOT_STATED = -1
"""Instead of the size of what a frame unpacks to."""


def can_code() -> bool:
    """Whether deltas can be written and read here: the extra `net` brings what compresses."""
    return find_spec("zstandard") is not None


def encode_delta(leaf: Bytes, base: Bytes, item_bytes: int) -> bytes | None:
    """`leaf` as its difference from `base`, in byte planes of items of 1, 2, 4 or 8 bytes; None if not worth it."""
    if len(leaf) != len(base) or item_bytes not in _ITEMS or len(leaf) % item_bytes:
        return None
    import numpy as np

    changed = np.bitwise_xor(_array(leaf), _array(base))
    planes = np.ascontiguousarray(changed.reshape(-1, item_bytes).T)
    packed: bytes = _zstandard().ZstdCompressor(level=LEVEL).compress(planes.data)
    return packed if len(packed) < WORTH * len(leaf) else None


def decode_delta(packed: bytes, base: Bytes, item_bytes: int) -> bytes:
    """What `encode_delta` made `packed` of. No more bytes are ever made than `base` has.

    Raises:
        ProtocolError: it is no delta of a leaf as long as `base`, or is cut short, or something follows it.
    """
    if item_bytes not in _ITEMS or len(base) % item_bytes:
        raise ProtocolError(f"no delta of {len(base)} bytes has items of {item_bytes} bytes")
    import numpy as np

    zstandard = _zstandard()
    try:
        size_bytes: int = zstandard.frame_content_size(packed)
        if size_bytes not in (_NOT_STATED, len(base)):
            raise ProtocolError(f"a delta of {len(base)} bytes says that it unpacks to {size_bytes}")
        unpacking = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
        planes: bytes = unpacking.decompress(packed, max_output_size=len(base), allow_extra_data=False)
    except zstandard.ZstdError as cause:
        raise ProtocolError(f"a delta cannot be unpacked: {cause}") from cause
    if len(planes) != len(base):
        raise ProtocolError(f"a delta of {len(base)} bytes unpacks to another length")
    changed = np.ascontiguousarray(_array(planes).reshape(item_bytes, -1).T).reshape(-1)
    return np.bitwise_xor(changed, _array(base)).tobytes()


def _array(data: Bytes) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    import numpy as np

    return np.frombuffer(data, np.uint8)


def _zstandard() -> Any:
    import zstandard

    return zstandard
