"""What a replica remembers of its own key: the last operation it signed, and whether the key is in use elsewhere.

Kept in `local/`, so it never leaves the replica. It says nothing about any key but the one it names.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from conjoin.errors import ConjoinError
from conjoin.store.files import NotRegularError, read_whole, sync_directory, translated_os_errors, write_durably
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, is_digest

FORMAT = "conjoin/key-use/1"
_FILE_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What is remembered of a key.

    Attributes:
        key: the public key in hex.
        count: operations it has signed here: their `seq` are below this number.
        last: id of the last one; None where there is none.
        elsewhere: name of an operation that it signed and that was not signed here; None where none was seen.
    """

    key: str
    count: int = 0
    last: Digest | None = None
    elsewhere: str | None = None


def read_key_use(path: Path, key: str) -> KeyUse | None:
    """What is remembered of `key` in the file `path`; None where that is nothing.

    A damaged file may have said that the key is in use elsewhere, so it says that.
    """
    try:
        value = canonical.decode(read_whole(path, _FILE_BYTES_MAX) or b"", "what is remembered of a key")
    except FileNotFoundError:
        return None
    except (ConjoinError, OSError, NotRegularError):
        value = None
    match value:
        case {
            "count": int(count),
            "elsewhere": str(elsewhere),
            "format": str(form),
            "key": str(whose),
            "last": str(last),
        }:
            if form == FORMAT and (not last or is_digest(last)):
                return KeyUse(key, count, Digest(last) if last else None, elsewhere or None) if whose == key else None
        case _:
            pass
    return KeyUse(key, elsewhere=os.fspath(path))


def write_key_use(path: Path, use: KeyUse) -> None:
    """Remember durably, in place of what was remembered.

    Raises:
        StoreError: it could not be written; what was remembered stays.
    """
    value = {
        "count": use.count,
        "elsewhere": use.elsewhere or "",
        "format": FORMAT,
        "key": use.key,
        "last": use.last or "",
    }
    with translated_os_errors(path):
        write_durably(path.parent, path, canonical.encode(value))
        sync_directory(path.parent)
