"""conjoin: merge fine-tuned models without a server; every replica computes the same checkpoint, byte for byte.

Names are loaded on first use, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conjoin.crdt import MergeState, join
    from conjoin.errors import ConjoinError
    from conjoin.executor import Receipt
    from conjoin.memory import CRDTMergeState, resolve
    from conjoin.plan import Recipe
    from conjoin.replica import Replica
    from conjoin.strategies.base import Block, Scope, strategy
    from conjoin.task_models import TaskModel, load_task
    from conjoin.verification import Verification, verify
    from conjoin.wire.asset import Asset

__version__ = "0.1.0"

_HOMES = {
    "Asset": "conjoin.wire.asset",
    "Block": "conjoin.strategies.base",
    "CRDTMergeState": "conjoin.memory",
    "ConjoinError": "conjoin.errors",
    "MergeState": "conjoin.crdt",
    "Receipt": "conjoin.executor",
    "Recipe": "conjoin.plan",
    "Replica": "conjoin.replica",
    "Scope": "conjoin.strategies.base",
    "Verification": "conjoin.verification",
    "TaskModel": "conjoin.task_models",
    "join": "conjoin.crdt",
    "load_task": "conjoin.task_models",
    "resolve": "conjoin.memory",
    "strategy": "conjoin.strategies.base",
    "verify": "conjoin.verification",
}

__all__ = [
    "Asset",
    "Block",
    "CRDTMergeState",
    "ConjoinError",
    "MergeState",
    "Receipt",
    "Recipe",
    "Replica",
    "Scope",
    "TaskModel",
    "Verification",
    "__version__",
    "join",
    "load_task",
    "resolve",
    "strategy",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'conjoin' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
