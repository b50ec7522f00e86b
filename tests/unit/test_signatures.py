"""One verifier, whichever library computes it: crafted signatures on which verifiers differ, and changed ones."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from conjoin.testing.histories import Signer
from conjoin.wire import signatures
from conjoin.wire.signatures import FEW, holds

VECTORS = json.loads((Path(__file__).parents[2] / "docs/spec/vectors/signatures.json").read_text("ascii"))
CASES = [(one, kind == "good") for kind in ("good", "bad") for one in VECTORS[kind]]
SIGNER = Signer("signatures")


class Broken(ModuleType):
    """What cffi does where its two parts are of different versions."""

    def __getattr__(self, name: str) -> object:
        raise Exception("Version mismatch")  # noqa: TRY002 - as cffi does


@pytest.fixture(params=["openssl", "libsodium", "libsodium that takes too much", "no libsodium", "broken libsodium"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library that is asked first."""
    found = signatures._libsodium()
    assert found is not None, "the libsodium of PyNaCl computes the cofactorless equation"
    monkeypatch.setattr(signatures, "FEW", 10**9 if request.param == "openssl" else 0)
    if request.param == "libsodium that takes too much":
        import nacl.bindings

        monkeypatch.setattr(nacl.bindings, "crypto_sign_open", lambda signed, key: signed[64:])
        monkeypatch.setattr(signatures, "_libsodium", signatures._libsodium.__wrapped__)
    elif request.param == "no libsodium":
        monkeypatch.setitem(sys.modules, "nacl.bindings", None)
        monkeypatch.setattr(signatures, "_libsodium", signatures._libsodium.__wrapped__)
    elif request.param == "broken libsodium":
        monkeypatch.setitem(sys.modules, "nacl.bindings", Broken("nacl.bindings"))
        monkeypatch.setattr(signatures, "_libsodium", signatures._libsodium.__wrapped__)
    return request.param


def openssl(key: str, signature: bytes, data: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def test_every_crafted_signature_is_judged_as_specified(library: str) -> None:
    for one, good in CASES:
        signed = one["key"], bytes.fromhex(one["signature"]), one["message"].encode("ascii")
        assert holds(*signed) is good, (library, one["why"])
        assert openssl(*signed) is good, one["why"]


def test_libsodium_never_says_yes_alone() -> None:
    accepts = signatures._libsodium()
    assert accepts is not None
    said = {one["why"]: accepts(bytes.fromhex(one["key"]), bytes.fromhex(one["signature"]), one["message"].encode())
            for one, good in CASES if not good}  # fmt: skip
    assert not any(said.values())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100), st.integers(0, 64 * 8 - 1))
def test_a_changed_bit_is_refused_whoever_looks(data: bytes, bit: int) -> None:
    signature = SIGNER.sign(data)
    changed = bytearray(signature)
    changed[bit // 8] ^= 1 << bit % 8
    accepts = signatures._libsodium()
    assert accepts is not None
    for holding, one in ((True, signature), (False, bytes(changed))):
        assert holds(SIGNER.key, one, data) is openssl(SIGNER.key, one, data) is holding
        assert accepts(bytes.fromhex(SIGNER.key), one, data) is holding


def test_libsodium_is_loaded_once_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(signatures, "_verified", iter(range(FEW + 3)))
    monkeypatch.setattr(signatures, "_libsodium", lambda: asked.append(1))
    for _ in range(FEW + 3):
        assert holds(SIGNER.key, SIGNER.sign(b"x"), b"x")
    assert len(asked) == 3
