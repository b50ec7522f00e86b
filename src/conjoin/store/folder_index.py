"""A folder's model.safetensors.index.json to a map tensor → shard; refuses every name that could leave the folder."""

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from conjoin.errors import MalformedCheckpointError, MissingFileError, RefusedFormatError, UnsafePathError
from conjoin.store.files import NotRegularError, read_whole, reason
from conjoin.store.formats import format_of_name
from conjoin.wire import canonical
from conjoin.wire.manifest import TENSORS_MAX, name_problem

INDEX = "model.safetensors.index.json"
INDEX_BYTES_MAX = 16 * 1024 * 1024
_AGAIN = "get the index again from where the shards came from"


def read_index(folder: Path, shown: Path) -> dict[str, str]:
    """The `weight_map` of the index in `folder`, every shard a plain name of a file that is there.

    Args:
        folder: the folder without symlinks.
        shown: the folder as the user gave it, for errors.

    Raises:
        MalformedCheckpointError: the index is not the JSON it should be.
        UnsafePathError: it, or a shard it names, is a symlink, device, pipe or folder, or lies elsewhere.
        MissingFileError: a shard is not there.
        RefusedFormatError: it names a pickle.
    """
    where = shown / INDEX
    document = _load(folder, where)
    weight_map = document.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        _refuse("the index has no `weight_map` of tensors to shards", where)
    if len(weight_map) > TENSORS_MAX:
        _refuse(f"{len(weight_map)} tensors are over the limit of {TENSORS_MAX}", where)
    for shard in weight_map.values():
        _check_shard_name(shard, where)
    for shard in sorted(set(weight_map.values())):
        if not os.path.lexists(folder / shard):
            raise MissingFileError(
                "a shard that the index names is not there", where=f"{where}: {shard}", hint="download the shard again"
            )
    return weight_map


def _load(folder: Path, where: Path) -> dict[str, Any]:
    try:
        text = read_whole(folder / INDEX, INDEX_BYTES_MAX)
    except NotRegularError as cause:
        raise UnsafePathError(
            f"the index is {cause} and not a regular file",
            where=str(where),
            hint="copy the folder's real files first: `cp -rL FOLDER COPY`, then give COPY",
        ) from cause
    except OSError as cause:
        raise MissingFileError(
            f"the index cannot be read: {reason(cause)}",
            where=str(where),
            hint="check its owner and permissions",
        ) from cause
    if text is None:
        _refuse(f"the index is over the limit of {INDEX_BYTES_MAX} bytes", where)
    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as cause:
        what = f"the index is not JSON: {canonical.unread(cause)}"
        raise MalformedCheckpointError(what, where=str(where), hint=_AGAIN) from cause
    if not isinstance(document, dict):
        _refuse("the index is not a JSON object", where)
    return document


def _check_shard_name(shard: object, where: Path) -> None:
    if not isinstance(shard, str):
        _refuse(f"the index names a shard that is not a string: {shard!r:.60}", where)
    if refused := format_of_name(shard):
        raise RefusedFormatError(
            f"the index names a shard that is {refused}; conjoin never opens those",
            where=f"{where}: {shard!r:.90}",
            hint="give the model's safetensors files",
        )
    if name_problem(shard) or not shard.endswith(".safetensors"):
        raise UnsafePathError(
            "the index names a shard that is not a plain name of a *.safetensors file in the same folder",
            where=f"{where}: {shard!r:.90}",
            hint=_AGAIN,
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return value


def _refuse(what: str, where: Path) -> NoReturn:
    raise MalformedCheckpointError(what, where=str(where), hint=_AGAIN)
