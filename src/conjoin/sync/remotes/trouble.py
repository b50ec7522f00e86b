"""What went wrong at a place on the network, from what its client library says; shows no secret and retries nothing."""

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from conjoin.errors import (
    AccessDeniedError,
    CredentialsError,
    NoSuchPlaceError,
    ReadOnlyPlaceError,
    RemoteError,
    UnreachableError,
)


@dataclass(frozen=True, slots=True)
class _Cause:
    """A pattern in the words of a client library or server, and what it means to a user."""

    pattern: re.Pattern[str]
    kind: type[RemoteError]
    what: str
    hint: str


def _cause(pattern: str, kind: type[RemoteError], what: str, hint: str) -> _Cause:
    return _Cause(re.compile(pattern, re.IGNORECASE), kind, what, hint)


_CAUSES = (
    _cause(
        r"NoSuchBucket|ContainerNotFound|specified bucket does not exist|BucketNotFound",
        NoSuchPlaceError,
        "there is no such bucket",
        "check its name, region and endpoint, or create it; conjoin creates objects, never buckets",
    ),
    _cause(
        r"Account must be specified|/latest/(api/token|meta-data)|computeMetadata|metadata/identity|token request",
        CredentialsError,
        "no credentials were found",
        "{credentials}",
    ),
    _cause(
        r"service account file|Invalid Access Key:|SAS query pair",
        CredentialsError,
        "the credentials cannot be read",
        "{credentials}",
    ),
    _cause(
        r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|TokenRefreshRequired|AuthenticationFailed|"
        r"failed to authenticate the request|401 Unauthorized|HTTP Error 401|received 401|Unauthenticated|"
        r"Authentication failed|Permission denied \(publickey",
        CredentialsError,
        "the credentials were not accepted",
        "{credentials}",
    ),
    _cause(
        r"PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint|incorrectly configured region|"
        r"redirect without LOCATION",
        RemoteError,
        "the bucket is in another region",
        "set AWS_REGION to the bucket's region",
    ),
    _cause(
        r"AccessDenied|AllAccessDisabled|403 Forbidden|HTTP Error 403|received 403|lacked the necessary|"
        r"Permission denied",
        AccessDeniedError,
        "access is denied",
        "syncing needs the rights to list and to get, pushing also the right to put",
    ),
    _cause(
        r"405 Method Not Allowed|501 Not Implemented|Read-only file ?system",
        ReadOnlyPlaceError,
        "it takes no objects",
        "push to a place that can be written, or let somebody who can write there sync",
    ),
    _cause(
        r"InvalidCertificate|certificate verify failed|CERTIFICATE_|invalid peer certificate|tls handshake|SSLError",
        UnreachableError,
        "its TLS certificate cannot be verified",
        "where a private authority signs it, name that authority's certificate in SSL_CERT_FILE",
    ),
    _cause(
        r"dns error|failed to lookup|Name or service not known|getaddrinfo|nodename nor servname|name resolution",
        UnreachableError,
        "its name cannot be resolved",
        "check the spelling, the endpoint and the network",
    ),
    _cause(
        r"scheme is not allowed|builder error",
        UnreachableError,
        "its endpoint is not encrypted",
        "use an https:// endpoint, or allow it with {prefix}ALLOW_HTTP=true",
    ),
    _cause(
        r"Connection ?Refused|tcp connect error|No route to host|Network is unreachable|Unable to connect",
        UnreachableError,
        "nothing answers there",
        "check the endpoint and port, and whether the service runs",
    ),
    _cause(
        r"\bTimeout\b|TimedOut|timed out|deadline has elapsed",
        UnreachableError,
        "it does not answer in time",
        "run the command again: what was moved is kept",
    ),
    _cause(
        r"IncompleteRead|Connection ?Reset|Broken ?Pipe|RemoteDisconnected|IncompleteMessage",
        UnreachableError,
        "the connection broke",
        "run the command again: what was moved is kept",
    ),
    _cause(
        r"No space left|Insufficient Storage|(status code: |HTTP Error |received )507|StorageFull|QuotaExceeded",
        RemoteError,
        "it is full",
        "free some space there and run the command again: what was moved is kept",
    ),
    _cause(
        r"(status code: |HTTP Error |received )(5\d\d|429|408)|SlowDown|ServiceUnavailable|InternalError",
        UnreachableError,
        "it fails at the moment",
        "run the command again later: what was moved is kept",
    ),
    _cause(
        r"WRONG_VERSION_NUMBER|InvalidContentType|error sending request",
        UnreachableError,
        "what answers there does not speak as expected",
        "check the endpoint, its port, and whether it is http:// or https://",
    ),
)

_CREDENTIALS = {
    "AWS_": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or keep them in ~/.aws/credentials, where AWS_PROFILE "
    'names the profile; after a single sign-on: eval "$(aws configure export-credentials --format env)"',
    "GOOGLE_": "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run `gcloud auth application-default login`",
    "AZURE_": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or "
    "AZURE_USE_AZURE_CLI=true after `az login`",
    "HF_": "run `hf auth login`, or set HF_TOKEN",
    "": "check user name, key or password",
}
_SECRET = re.compile(r"SECRET|TOKEN|KEY|PASSWORD|SAS|CREDENTIAL")
_SECRET_LENGTH_MIN = 6
_TEXT_LENGTH_MAX = 200


def trouble(error: Exception, where: str, done: str, *, prefix: str = "", at: str | None = None) -> RemoteError:
    """The error that tells a user why `where` cannot be `done` (listed, read, written).

    Raise it `from None`: what a client library says can hold signed addresses.

    Args:
        error: what the client library raised.
        where: how the place is named.
        done: what was tried.
        prefix: how environment variables of this kind of place begin, such as `AWS_`.
        at: the object that was asked for.
    """
    text = f"{type(error).__name__} {error}"
    location = f"{where}: {at}" if at else where
    for cause in _CAUSES:
        if cause.pattern.search(text):
            hint = cause.hint.format(credentials=_CREDENTIALS.get(prefix, _CREDENTIALS[""]), prefix=prefix)
            return cause.kind(f"{where} cannot be {done}: {cause.what}", where=location, hint=hint)
    said = without_secrets(str(getattr(error, "reason", error)))
    return RemoteError(f"{where} cannot be {done}: {said}", where=location)


def without_secrets(text: str) -> str:
    """The first line of `text` without queries and passwords of URLs, XML, or values of secret variables."""
    line = (text.strip() or "no reason was given").splitlines()[0]
    line = re.sub(r"Error performing .*retry_timeout: \S+\s+- ", "", line)
    line = re.sub(r"<.*", "", line)
    line = re.sub(r"://[^/\s@]*@", "://", line)
    line = re.sub(r"\?\S*", "", line)
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= _SECRET_LENGTH_MIN:
            line = line.replace(value, "…")
    return line[:_TEXT_LENGTH_MAX].strip()


def shown(source: str) -> str:
    """A source as reports and errors may show it: a URL without its password and query, anything else as it is."""
    if "://" not in source:
        return source
    try:
        parts = urlsplit(source)
    except ValueError:
        return source.partition("://")[0] + "://…"
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    netloc = f"{name}{':…' if colon else ''}{at}{host}"
    return urlunsplit((parts.scheme, netloc, parts.path, "…" if parts.query else "", ""))
