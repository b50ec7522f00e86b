"""Key files, the replica's lock and the instance marker: what they refuse, seen from other processes and copies."""

import base64
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from conjoin.errors import CopiedReplicaError, KeyFileError, LockedError, ReadOnlyError
from conjoin.store.instance import check_instance, create_instance
from conjoin.store.keys import create_key, load_key
from conjoin.store.lock import ReplicaLock
from places import as_nobody


def openssh(key) -> bytes:
    how = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    return key.private_bytes(*how)


def encrypted() -> bytes:
    """The start of a file as `ssh-keygen -N secret` writes it; what follows does not matter."""
    blob = b"openssh-key-v1\0" + b"".join(struct.pack(">I", len(s)) + s for s in (b"aes256-ctr", b"bcrypt", bytes(24)))
    text = base64.encodebytes(blob + bytes(300))
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + text + b"-----END OPENSSH PRIVATE KEY-----\n"


def key_file(path: Path, text: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text)
    path.chmod(mode)
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        load_key(path)
    assert all(word in str(caught.value) for word in (*words, str(path)))
    assert caught.value.hint


def test_a_new_key_is_private_and_signs(tmp_path):
    key = create_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    again = load_key(tmp_path / "key")
    assert again == key
    assert len(key.public) == 64
    signature = again.sign(b"data")
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public)).verify(signature, b"data")
    assert create_key(tmp_path / "other").public != key.public
    secret = (tmp_path / "key").read_text().splitlines()[2]
    assert secret not in repr(key)


def test_a_key_is_never_overwritten(tmp_path):
    create_key(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(KeyFileError, match="there already"):
        create_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before


def test_a_key_in_a_folder_of_somebody_else_is_refused():
    with as_nobody() as folder, pytest.raises(ReadOnlyError, match=str(folder)):
        create_key(folder / "key")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")
def test_ssh_keygen_keys_serve_and_ours_serve_ssh_keygen(tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "id")], check=True)
    assert len(load_key(tmp_path / "id").public) == 64
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(tmp_path / "enc")], check=True)
    refused(tmp_path / "enc", "encrypted")
    key = create_key(tmp_path / "key")
    shown = subprocess.run(["ssh-keygen", "-y", "-f", str(key.path)], check=True, capture_output=True, text=True).stdout
    from conjoin.wire.keys import parse_public_key

    assert parse_public_key(shown.strip()) == key.public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o777, 0o601])
def test_open_permissions_are_refused(tmp_path, mode):
    path = key_file(tmp_path / "key", openssh(Ed25519PrivateKey.generate()), mode)
    refused(path, f"mode {mode:04o}", "chmod 600")


def test_other_keys_are_refused(tmp_path):
    refused(key_file(tmp_path / "enc", encrypted()), "encrypted", "ssh-keygen -p")
    refused(key_file(tmp_path / "ec", openssh(ec.generate_private_key(ec.SECP256R1()))), "ecdsa", "not ssh-ed25519")
    refused(key_file(tmp_path / "rsa", openssh(rsa.generate_private_key(65537, 2048))), "ssh-rsa", "not ssh-ed25519")
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    refused(key_file(tmp_path / "pkcs8", pem), "not an OpenSSH private key")
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    refused(key_file(tmp_path / "public", public), "not an OpenSSH private key")
    refused(key_file(tmp_path / "huge", bytes(70_000)), "not a key file")
    refused(key_file(tmp_path / "hostname", b"north\n", 0o644), "not an OpenSSH private key")
    refused(key_file(tmp_path / "empty", b""), "not an OpenSSH private key")
    refused(tmp_path / "nothing", "no key file")
    (tmp_path / "folder").mkdir(mode=0o700)
    refused(tmp_path / "folder", "not a key file")
    os.mkfifo(tmp_path / "pipe", 0o600)
    refused(tmp_path / "pipe", "not a key file")


def test_a_damaged_key_is_refused_or_still_the_same_key(tmp_path):
    text = openssh(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    public = load_key(key_file(tmp_path / "key", text)).public
    for place in range(len(text)):
        changed = bytearray(text)
        changed[place] ^= 1 << (place % 7)
        try:
            damaged = load_key(key_file(tmp_path / "key", bytes(changed)))
        except KeyFileError:
            continue
        assert damaged.public == public


HOLDER = """
import sys
from conjoin.store.lock import ReplicaLock
with ReplicaLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_names_the_process_that_holds_it(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"process {holder.pid} is writing") as caught, ReplicaLock(path):
            pass
        assert caught.value.retryable
        holder.kill()
        holder.wait()
        with ReplicaLock(path):
            assert path.read_text() == f"{os.getpid()}\n"
    with ReplicaLock(path), pytest.raises(LockedError, match=f"process {os.getpid()}"), ReplicaLock(path):
        pass
    with ReplicaLock(path):
        pass


def test_a_lock_that_cannot_be_written_is_named():
    with as_nobody() as folder, pytest.raises(ReadOnlyError, match=str(folder)), ReplicaLock(folder / "lock"):
        pass


def test_the_marker_survives_moving_and_not_copying(tmp_path):
    local = tmp_path / "replica" / "local"
    local.mkdir(parents=True)
    number = create_instance(local / "instance")
    assert check_instance(local / "instance") == number
    (tmp_path / "replica").rename(tmp_path / "moved")
    assert check_instance(tmp_path / "moved" / "local" / "instance") == number
    shutil.copytree(tmp_path / "moved", tmp_path / "copy")
    with pytest.raises(CopiedReplicaError, match="copy of a replica") as caught:
        check_instance(tmp_path / "copy" / "local" / "instance")
    assert "conjoin rekey" in str(caught.value)
    assert create_instance(tmp_path / "copy" / "local" / "instance") != number
    check_instance(tmp_path / "copy" / "local" / "instance")
    assert check_instance(tmp_path / "moved" / "local" / "instance") == number


def test_a_marker_moved_into_another_folder_is_a_copy(tmp_path):
    create_instance(tmp_path / "instance")
    (tmp_path / "sub").mkdir()
    os.link(tmp_path / "instance", tmp_path / "sub" / "instance")
    with pytest.raises(CopiedReplicaError):
        check_instance(tmp_path / "sub" / "instance")


@pytest.mark.parametrize(
    "text", ["", "x", "a" * 32, f"{'a' * 32} 1", f"{'a' * 32} 1 2 3\n", f"{'A' * 32} 1 2\n", "\xff"]
)
def test_a_damaged_marker_is_refused(tmp_path, text):
    (tmp_path / "instance").write_text(text, encoding="latin-1")
    with pytest.raises(CopiedReplicaError, match="damaged"):
        check_instance(tmp_path / "instance")


def test_a_missing_or_symlinked_marker_is_refused(tmp_path):
    with pytest.raises(CopiedReplicaError, match="missing"):
        check_instance(tmp_path / "instance")
    create_instance(tmp_path / "real")
    (tmp_path / "instance").symlink_to("real")
    with pytest.raises(CopiedReplicaError, match="symlink"):
        check_instance(tmp_path / "instance")
