"""Assets as files: read within limits, and found beside a checkpoint that was made with them; judges no value."""

import os
from collections.abc import Iterable
from pathlib import Path

from conjoin.errors import MissingFileError, WrongAssetError
from conjoin.store.files import NotRegularError, read_whole, reason
from conjoin.wire.asset import ASSET_BYTES_MAX, Asset, asset_file


def read_asset(path: str | os.PathLike[str]) -> Asset:
    """Read an asset from a file.

    Raises:
        MissingFileError: there is no such file.
        WrongAssetError: it is no asset.
    """
    try:
        data = read_whole(Path(path), ASSET_BYTES_MAX)
    except (OSError, NotRegularError) as cause:
        raise MissingFileError(
            f"the asset cannot be read: {reason(cause)}", where=str(path), hint="check the path"
        ) from cause
    if data is None:
        raise WrongAssetError(f"the file is over {ASSET_BYTES_MAX} bytes, no asset is", where=str(path))
    try:
        return Asset.decode(data)
    except WrongAssetError as cause:
        raise WrongAssetError(cause.what, where=str(path), hint=cause.hint) from cause


def assets_beside(checkpoint: Path, digests: Iterable[str]) -> list[Asset]:
    """Those of the assets that stand in a merged checkpoint's folder and are whole."""
    found: list[Asset] = []
    for digest in digests:
        path = checkpoint / asset_file(digest)
        if path.is_file():
            found.append(read_asset(path))
    return found
