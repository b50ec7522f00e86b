"""Servers shared by all tests of places, and a fresh prefix in one of their buckets."""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.conftest import lay_out
from tests.e2e.shell import InProcess
from tests.e2e.shell import here as here
from tests.places import servers
from tests.places.servers import BUCKET, S3


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing of the machine's own configuration takes part, and no service of a cloud is ever asked for keys."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """rclone as an S3 server, with its bucket's folder to look into."""
    with servers.rclone_s3(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[S3]:
    """moto as an S3 server."""
    with servers.moto_s3() as server:
        yield server


@pytest.fixture
def s3(rclone: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server that rclone is, configured in the environment."""
    for name, value in rclone.environment.items():
        monkeypatch.setenv(name, value)
    return rclone


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def url(s3: S3, prefix: str) -> str:
    """A fresh meeting place in rclone's bucket."""
    return f"s3://{BUCKET}/{prefix}"


@pytest.fixture
def folder(s3: S3, prefix: str) -> Path:
    """The folder in which rclone keeps the objects of `url`."""
    assert s3.folder is not None
    return s3.folder / prefix


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base/, north.safetensors, south.safetensors and west.safetensors."""
    return lay_out(tmp_path_factory.mktemp("models"))


@pytest.fixture
def site(models: Path, url: str, here: InProcess, tmp_path: Path) -> Path:
    """A replica with one contribution, whose meeting place at `url` has all of it."""
    here.ok("-q", "init", tmp_path / "north", "--base", models / "base", "--open")
    here.ok("-q", "-C", tmp_path / "north", "add", models / "north.safetensors")
    here.ok("-q", "-C", tmp_path / "north", "sync", url)
    return tmp_path / "north"


def signed(subject: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, *, authority: bool) -> bytes:
    """A certificate for two days, as PEM."""
    name = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (subject, "authority")]
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name[0]).issuer_name(name[1]).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = builder.add_extension(address, critical=False)
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key and certificate for 127.0.0.1, and the private authority that signed it."""
    folder = tmp_path_factory.mktemp("tls")
    authority, place = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    (folder / "ca.pem").write_bytes(signed("authority", authority, authority, authority=True))
    plain = serialization.NoEncryption()
    key = place.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "both.pem").write_bytes(key + signed("place", place, authority, authority=False))
    return folder / "both.pem", folder / "ca.pem"
