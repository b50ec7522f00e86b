"""The certificate a live peer shows: self-signed, made once, kept with its private key; no authority vouches for it.

Whoever has a ticket knows the certificate's digest, and takes this one certificate and no other.
"""

import hashlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

from conjoin.sync.peers.private import damaged, provide_private
from conjoin.wire.digest import Digest

NAME = "peer.conjoin.invalid"
_WHAT = "the certificate"
_VALID_FROM = datetime(2020, 1, 1, tzinfo=UTC)
_VALID_UNTIL = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def provide_certificate(path: Path) -> Digest:
    """The digest of the certificate in the file `path`, which is made if it is not there.

    Raises:
        KeyFileError: the file is damaged, or others can read the private key in it.
        StoreError: it could not be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    data = provide_private(path, _make, _WHAT)
    try:
        return digest_of(x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER))
    except ValueError as cause:
        raise damaged(path, _WHAT) from cause


def _make() -> bytes:
    """A new private key and its certificate, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(private, hashes.SHA256())
    )
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key + certificate.public_bytes(serialization.Encoding.PEM)


def digest_of(certificate: bytes) -> Digest:
    """The digest by which a ticket names a certificate, given as DER."""
    return Digest(hashlib.sha256(certificate).hexdigest())


def client_context() -> ssl.SSLContext:
    """A client's TLS context that asks no authority: whoever uses it compares the certificate's digest himself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
