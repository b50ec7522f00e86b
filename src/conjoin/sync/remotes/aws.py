"""What the files of the AWS command line say about S3, for the client library, which reads the environment only.

Reads plain keys, region and endpoint of one profile. It runs no program, asks no sign-on service and takes no role.
"""

import configparser
from collections.abc import Mapping
from pathlib import Path

_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}
_OTHER_SOURCES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)


def profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings that `environment` leaves open, from `AWS_PROFILE` or the default profile.

    Files that are not there or not readable, and profiles without plain keys, say nothing.
    """
    name = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or "default"
    home = Path(environment.get("HOME") or Path.home()) / ".aws"
    secrets = _section(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials", name)
    settings = _section(
        environment.get("AWS_CONFIG_FILE") or home / "config", name if name == "default" else f"profile {name}"
    )
    found: dict[str, str] = {}
    if not any(environment.get(variable) for variable in _OTHER_SOURCES):
        both = {**settings, **secrets}
        if "aws_access_key_id" in both and "aws_secret_access_key" in both:
            found = {key: both[line] for line, key in _KEYS.items() if line in both}
    if "region" in settings and not (environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")):
        found["region"] = settings["region"]
    endpoints = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
    if "endpoint_url" in settings and not any(environment.get(variable) for variable in endpoints):
        found["endpoint"] = settings["endpoint_url"]
    return found


def _section(path: str | Path, name: str) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error):
        return {}
    return dict(parser[name]) if parser.has_section(name) else {}
