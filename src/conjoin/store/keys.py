"""A replica's private key in a file only its owner can read; refuses other keys, other readers, and passwords.

The file is an unencrypted OpenSSH Ed25519 private key, so a user's own one can serve. It never leaves the replica.
"""

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from conjoin.errors import KeyFileError
from conjoin.store.files import sync_directory, translated_os_errors

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_BYTES_MAX = 64 * 1024
_HEADER = b"-----BEGIN OPENSSH PRIVATE KEY-----"


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
        KeyFileError: it is missing, open to others, encrypted, or no Ed25519 private key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    source = Path(path)
    text = _read(source)
    if not text.lstrip().startswith(_HEADER):
        raise _refused(source, "it is not an OpenSSH private key", "make one with `ssh-keygen -t ed25519 -N ''`")
    try:
        private = load_ssh_private_key(text, password=None)
    except UnsupportedAlgorithm as cause:
        raise _refused(source, f"the key cannot be used: {cause}", _ED25519_HINT) from cause
    except (TypeError, ValueError) as cause:
        if "assword" in str(cause) or "ncrypt" in str(cause):
            raise _refused(
                source,
                "the key is encrypted with a password",
                "give an unencrypted key: copy it and run `ssh-keygen -p -N '' -f COPY`",
            ) from cause
        raise _refused(source, "the key file is damaged", "restore it from a copy, or clone with a new key") from cause
    if not isinstance(private, Ed25519PrivateKey):
        kind = type(private).__name__.lstrip("_").removesuffix("PrivateKey")
        raise _refused(source, f"it is a key of type {kind} and not Ed25519", _ED25519_HINT)
    return _signing_key(private, source)


_ED25519_HINT = "make an Ed25519 key with `ssh-keygen -t ed25519 -N ''`"


def _signing_key(private: "Ed25519PrivateKey", path: Path) -> SigningKey:
    return SigningKey(private.public_key().public_bytes_raw().hex(), path, private.sign)


def _read(path: Path) -> bytes:
    """The key file's bytes, after a look at who else can read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as cause:
        raise _refused(path, "there is no key file", "give the path of a private key") from cause
    except OSError as cause:
        raise _refused(
            path, f"the key file cannot be read: {os.strerror(cause.errno or 0).lower()}", "check its owner"
        ) from cause
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > KEY_BYTES_MAX:
            raise _refused(path, "it is not a key file", "give the path of a private key")
        if sys.platform != "win32" and status.st_mode & 0o077:
            raise _refused(
                path,
                f"the key file has mode {stat.S_IMODE(status.st_mode):04o}: others than its owner can use it",
                f"`chmod 600 {path}`; if others may have read it, make a new key",
            )
        return os.read(descriptor, KEY_BYTES_MAX)
    finally:
        os.close(descriptor)


def _refused(path: Path, what: str, hint: str) -> KeyFileError:
    return KeyFileError(what, where=str(path), hint=hint)
