"""Torch as learning and statistics use it: loaded on demand, one thread, deterministic; computes nothing itself."""

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from conjoin.errors import MissingExtraError

Tensor = Any
"""A torch.Tensor; torch is not a dependency, so its types are not known here."""


def torch() -> Any:
    """The package torch.

    Raises:
        MissingExtraError: it is not installed.
    """
    return _package("torch", "pip install 'conjoin[torch]'", "models run in torch")


def transformers() -> Any:
    """The package transformers.

    Raises:
        MissingExtraError: it is not installed.
    """
    return _package("transformers", "pip install 'conjoin[torch]'", "a Hugging Face folder is run by transformers")


def _package(name: str, command: str, why: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as cause:
        raise MissingExtraError(f"{why}, and it cannot be imported: {cause}", hint=f"`{command}`") from cause


@contextmanager
def deterministic() -> Generator[Any]:
    """Torch on one thread, in deterministic operations and without fused attention; as it was before afterwards."""
    lib = torch()
    threads, strict = lib.get_num_threads(), lib.are_deterministic_algorithms_enabled()
    fast = lib.backends.mha.get_fastpath_enabled()
    lib.set_num_threads(1)
    lib.use_deterministic_algorithms(True)
    lib.backends.mha.set_fastpath_enabled(False)
    try:
        with lib.random.fork_rng(devices=[]):
            yield lib
    finally:
        lib.set_num_threads(threads)
        lib.use_deterministic_algorithms(strict)
        lib.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def quiet(hf: Any) -> Generator[None]:
    """Transformers without its warnings; an error still is one."""
    before = hf.logging.get_verbosity()
    hf.logging.set_verbosity_error()
    try:
        yield
    finally:
        hf.logging.set_verbosity(before)
