"""A replica's private key in a file only its owner can read; refuses other keys, other readers, and passwords.

The file is an unencrypted OpenSSH Ed25519 private key, so a user's own one can serve. It never leaves the replica.
"""

import base64
import binascii
import os
import stat
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from conjoin.errors import KeyFileError
from conjoin.store.files import reason, sync_directory, translated_os_errors

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_BYTES_MAX = 64 * 1024
_BEGIN, _END = b"-----BEGIN OPENSSH PRIVATE KEY-----", b"-----END OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 key pair: `public` as 64 hex characters, and `sign`. The private half shows in no repr.

    Attributes:
        public: the public key, which is an author's name in the log.
        path: the file it was read from or written to.
    """

    public: str
    path: Path
    _signer: Callable[[bytes], bytes] = field(repr=False, compare=False)

    def sign(self, data: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `data`."""
        return self._signer(data)


def create_key(path: str | os.PathLike[str]) -> SigningKey:
    """Make a new key and write it to `path` with mode 0600.

    Raises:
        KeyFileError: the file exists.
        StoreError: it could not be written; nothing is left behind.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    target = Path(path)
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    with translated_os_errors(target):
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        except FileExistsError as cause:
            raise KeyFileError(
                "a key file is there already", where=str(target), hint="use it, or move it away"
            ) from cause
        try:
            os.write(descriptor, text)
            os.fsync(descriptor)
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(descriptor)
        sync_directory(target.parent)
    return _signing_key(private, target)


def load_key(path: str | os.PathLike[str]) -> SigningKey:
    """Read a key file: ours, or a user's unencrypted OpenSSH Ed25519 key.

    Raises:
        KeyFileError: it is missing, open to others, encrypted, damaged, or no Ed25519 private key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    source = Path(path)
    blob = _unarmoured(source, _read(source))
    try:
        seed, public = _unpack(source, blob)
    except (IndexError, struct.error) as cause:
        raise _damaged(source) from cause
    key = _signing_key(Ed25519PrivateKey.from_private_bytes(seed), source)
    if bytes.fromhex(key.public) != public:
        raise _damaged(source)
    return key


def _signing_key(private: "Ed25519PrivateKey", path: Path) -> SigningKey:
    return SigningKey(private.public_key().public_bytes_raw().hex(), path, private.sign)


def _unarmoured(path: Path, text: bytes) -> bytes:
    """The binary inside the BEGIN and END lines."""
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise _refused(path, "it is not an OpenSSH private key", "make one with `ssh-keygen -t ed25519 -N ''`")
    try:
        return base64.b64decode(b"".join(lines[1:-1]), validate=True)
    except binascii.Error as cause:
        raise _damaged(path) from cause


def _unpack(path: Path, blob: bytes) -> tuple[bytes, bytes]:
    """Seed and public key of the one Ed25519 key in an OpenSSH key file (openssh/PROTOCOL.key).

    The file holds the public key three times; a damaged file would otherwise be another key without a word. Raises
    IndexError or struct.error when the file ends too soon.
    """
    if not blob.startswith(_MAGIC):
        raise _damaged(path)
    cipher, _, _, rest = _strings(blob[len(_MAGIC) :], 3)
    if cipher != b"none":
        hint = "give an unencrypted key: copy it and run `ssh-keygen -p -N '' -f COPY`"
        raise _refused(path, "the key is encrypted with a password", hint)
    count = rest[:4]
    outer, secret, rest = _strings(rest[4:], 2)
    kind = _strings(outer, 1)[0]
    if kind != b"ssh-ed25519":
        hint = "make an Ed25519 key with `ssh-keygen -t ed25519 -N ''`"
        raise _refused(path, f"it is a key of type {kind.decode('ascii', 'replace'):.40} and not ssh-ed25519", hint)
    inner, public, private, _, padding = _strings(secret[8:], 4)
    whole = (
        count == b"\0\0\0\1"
        and secret[:4] == secret[4:8]
        and inner == kind
        and outer == _string(kind) + _string(public)
        and len(private) == 64
        and private[32:] == public
        and padding == bytes(range(1, len(padding) + 1))
        and not rest
    )
    if not whole:
        raise _damaged(path)
    return private[:32], public


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _strings(data: bytes, count: int) -> list[bytes]:
    """The first `count` length-prefixed strings of `data`, and what follows them."""
    found: list[bytes] = []
    for _ in range(count):
        (size,) = struct.unpack_from(">I", data)
        if len(data) < 4 + size:
            raise IndexError
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return [*found, data]


def _read(path: Path) -> bytes:
    """The key file's bytes, where nobody else can read a key in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as cause:
        raise _refused(path, "there is no key file", "give the path of a private key") from cause
    except OSError as cause:
        raise _refused(path, f"the key file cannot be read: {reason(cause)}", "check its owner") from cause
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > KEY_BYTES_MAX:
            raise _refused(path, "it is not a key file", "give the path of a private key")
        text = os.read(descriptor, KEY_BYTES_MAX)
        if _BEGIN in text and sys.platform != "win32" and status.st_mode & 0o077:
            raise _refused(
                path,
                f"the key file has mode {stat.S_IMODE(status.st_mode):04o}: others than its owner can use it",
                f"`chmod 600 {path}`; if others may have read it, make a new key",
            )
        return text
    finally:
        os.close(descriptor)


def _damaged(path: Path) -> KeyFileError:
    return _refused(path, "the key file is damaged", "restore it from a copy")


def _refused(path: Path, what: str, hint: str) -> KeyFileError:
    return KeyFileError(what, where=str(path), hint=hint)
