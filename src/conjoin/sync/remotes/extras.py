"""Packages that only some places need, imported when a URL asks for them and never before; installs nothing."""

import importlib
from typing import Any

from conjoin.errors import MissingExtraError


def package(name: str, extra: str, *, instead: str | None = None) -> Any:
    """The module `name`.

    Args:
        name: of the module.
        extra: the extra of conjoin that brings it.
        instead: what to install, where no extra brings it.

    Raises:
        MissingExtraError: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as cause:
        raise MissingExtraError(
            f"this needs the package {name.partition('.')[0]}, and it cannot be imported: {cause}",
            hint=f"`pip install '{instead or f'conjoin[{extra}]'}'`",
        ) from cause
