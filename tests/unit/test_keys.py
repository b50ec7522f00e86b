"""Public keys: every encoding on which verifiers differ is refused; OpenSSH lines are read and written as ssh does."""

import base64
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from conjoin.errors import BadKeyError
from conjoin.testing.histories import Signer
from conjoin.wire.keys import check_key_hex, check_public_key, fingerprint, openssh_line, parse_public_key

P = 2**255 - 19
ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826

# The y coordinates of the eight points whose order divides 8, and their spellings above p where those fit in 255 bits.
TORSION = [0, 1, P - 1, P, P + 1, ORDER_8_Y, P - ORDER_8_Y]
SMALL = sorted({(y | sign << 255).to_bytes(32, "little") for y in TORSION for sign in (0, 1)})


def test_the_table_of_small_order_points_is_whole() -> None:
    assert len(SMALL) == 14


@pytest.mark.parametrize("raw", SMALL, ids=lambda raw: raw.hex()[:8] + "-" + raw.hex()[-2:])
def test_small_order_keys_are_refused_in_every_encoding(raw: bytes) -> None:
    with pytest.raises(BadKeyError):
        check_public_key(raw)
    with pytest.raises(BadKeyError):
        parse_public_key(raw.hex())


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", range(P, 2**255))
def test_a_y_coordinate_of_p_or_more_is_refused(y: int, sign: int) -> None:
    with pytest.raises(BadKeyError, match="not canonical"):
        check_public_key((y | sign << 255).to_bytes(32, "little"))


@pytest.mark.parametrize("y", [1, P - 1])
def test_x_zero_with_the_sign_bit_is_refused(y: int) -> None:
    with pytest.raises(BadKeyError, match="sign bit"):
        check_public_key((y | 1 << 255).to_bytes(32, "little"))


def test_points_off_the_curve_are_refused_and_points_on_it_taken() -> None:
    verdicts = []
    for y in range(2, 60):
        try:
            check_public_key(y.to_bytes(32, "little"))
            verdicts.append(True)
        except BadKeyError as error:
            assert "not a point" in error.what
            verdicts.append(False)
    assert 15 < sum(verdicts) < 45


@pytest.mark.parametrize("number", range(20))
def test_honest_keys_are_taken(number: int) -> None:
    key = Signer(f"honest {number}").key
    assert check_key_hex(key) == key
    assert parse_public_key(key.upper()) == key
    assert parse_public_key(openssh_line(key) + " someone@somewhere\n") == key


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(BadKeyError, match="32 bytes"):
        check_public_key(b"\x02" * length)


def blob(kind: bytes, raw: bytes, tail: bytes = b"") -> str:
    data = b"".join(len(part).to_bytes(4, "big") + part for part in (kind, raw)) + tail
    return base64.b64encode(data).decode()


RAW = bytes.fromhex(Signer("line").key)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        "abcd",
        Signer("line").key + "00",
        "ssh-ed25519",
        "ssh-ed25519 ????",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAA someone",
        "ssh-ed25519 " + blob(b"ssh-rsa", RAW),
        "ssh-ed25519 " + blob(b"ssh-ed25519", RAW[:31]),
        "ssh-ed25519 " + blob(b"ssh-ed25519", RAW + b"\0"),
        "ssh-ed25519 " + blob(b"ssh-ed25519", RAW, b"more"),
        "ssh-ed25519 " + blob(b"ssh-ed25519", RAW).rstrip("=") + "\n" + openssh_line(RAW.hex()),
        "ssh-ed25519 " + blob(b"ssh-ed25519", SMALL[1]),
        "sk-ssh-ed25519@openssh.com " + blob(b"sk-ssh-ed25519@openssh.com", RAW),
    ],
)
def test_what_is_no_key_is_refused(line: str) -> None:
    with pytest.raises(BadKeyError):
        parse_public_key(line)


def test_lines_agree_with_cryptography() -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
    raw = private.public_key().public_bytes_raw()
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert openssh_line(raw.hex()) == line
    assert load_ssh_public_key(openssh_line(raw.hex()).encode()) == private.public_key()


def test_the_fingerprint_is_the_one_ssh_keygen_prints(tmp_path) -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32).public_key().public_bytes_raw().hex()
    assert fingerprint(key) == "SHA256:z/fSv0Z0RZS+Lccbc6ZoOWwt/fbj1VFJGSBKQbo4icE"
    if shutil.which("ssh-keygen"):
        (tmp_path / "key.pub").write_text(openssh_line(key) + "\n")
        printed = subprocess.run(
            ["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True
        )
        assert printed.stdout.split()[1] == fingerprint(key)


@pytest.mark.parametrize("text", [None, 7, "", "0" * 63, "A" * 64, RAW.hex().upper(), RAW])
def test_operations_hold_keys_in_one_form_only(text: object) -> None:
    with pytest.raises(BadKeyError):
        check_key_hex(text)
