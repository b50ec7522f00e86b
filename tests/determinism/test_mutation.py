"""A compiler that fuses: sums of products of float32 values keep their bytes; other changes, a self-test refuses."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from llvmlite import binding

FUSES = bool(binding.get_host_cpu_features().get("fma"))


@pytest.fixture(scope="module")
def contracted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What stays where every kernel may be contracted."""
    cache = str(tmp_path_factory.mktemp("machine-code"))
    settings = {"NUMBA_CACHE_DIR": cache, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tests.determinism.mutated", '["contract"]', "reductions.block_gram", "matrix.gemm"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.skipif(not FUSES, reason="this processor has no fused instruction")
def test_sums_of_products_of_float32_values_survive_fused_instructions(contracted: dict[str, Any]) -> None:
    """A product of two numbers of 24 bits is exact in float64, so fusing it with the addition changes nothing."""
    gram = contracted["reductions.block_gram"]
    assert any("instruction vf" in problem for problem in gram["found"])
    assert {"BF16", "F16", "F32"} <= set(gram["same"])


@pytest.mark.skipif(not FUSES, reason="this processor has no fused instruction")
def test_a_self_test_refuses_what_fusing_changes(contracted: dict[str, Any]) -> None:
    """Sums of float64 products do change, so the golden digest must not be reached."""
    product = contracted["matrix.gemm"]
    assert any("instruction vf" in problem for problem in product["found"])
    assert not product["golden"]
