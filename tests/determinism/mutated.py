"""One process whose kernels are compiled with a permission they do not have: what of their bytes stays.

`python -m tests.determinism.mutated '["contract"]' OPERATION …` prints, as JSON, for each operation whether its golden
digest holds, for which formats the reference's bytes hold, and what the scan of its machine code finds.
"""

import hashlib
import json
import sys
from types import ModuleType
from typing import Any

import numpy as np

from conjoin.kernels import FORMATS, jit, selftest
from conjoin.kernels.backend import family
from conjoin.testing import machine_code


def permit(flags: set[str]) -> None:
    """Compile every kernel with fast-math flags, and look at no machine code kept by others."""
    plain = jit.njit

    def njit(**options: Any) -> Any:
        return plain(**{**options, "fastmath": flags})

    jit.njit = njit


def bytes_of(module: ModuleType, operation: str, form: str) -> str:
    state = hashlib.sha256()
    for value in selftest.CASES[operation](module, form):
        state.update(np.asarray(value).tobytes())
    return state.hexdigest()


def main() -> None:
    """Print what stays."""
    np.seterr(all="ignore")
    permit(set(json.loads(sys.argv[1])))
    told: dict[str, Any] = {}
    for operation in sys.argv[2:]:
        group, _, name = operation.partition(".")
        compiled, reference = family("compiled", group), family("reference", group)
        told[operation] = {
            "golden": selftest.passes(compiled, operation),
            "same": [f for f in FORMATS if bytes_of(compiled, operation, f) == bytes_of(reference, operation, f)],
            "found": machine_code.scan(machine_code.kernels()[f"conjoin.kernels.native.{group}", name]),
        }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
