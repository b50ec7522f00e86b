"""A strategy of another package, found by its entry point: listed, run, and held to the same suite."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STRATEGY = '''
"""WiSE-FT: a point on the line from the base to the mean of the contributions."""

from fractions import Fraction

from conjoin import kernels
from conjoin.strategies.base import Block, RawArray, Scope, Unit, strategy


@strategy(scope=Scope.ELEMENTWISE, needs_base=True, source="Wortsman et al., CVPR 2022, arXiv:2109.01903")
def wise_ft(x: Block, *, share: Unit = Fraction(1, 2)) -> RawArray:
    """Go from the base a share of the way to the mean of the contributions.

    θ = θ₀ + share · Σᵢ wᵢ τᵢ / Σᵢ wᵢ

    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,).
    Defaults: share 0.5; w = 1.
    share: 1 is the mean.
    """
    total = sum(x.weights) or Fraction(1)
    terms = kernels.coefficients([share * w / total for w in x.weights])
    return kernels.delta_sum(x.tensors, x.origin, x.format, x.out_format, terms=terms)
'''

TESTS = """
from conjoin.testing.strategy_suite import StrategySuite


class TestWiseFt(StrategySuite):
    strategy = "wise_ft"
    variants = [{"share": "1"}]
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An installed package of one module with an entry point."""
    (tmp_path / "wise_ft.py").write_text(STRATEGY)
    (tmp_path / "test_wise_ft.py").write_text(TESTS)
    info = tmp_path / "wise_ft-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wise-ft\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[conjoin.strategies]\nwise_ft = wise_ft\n")
    return tmp_path


def run(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(package), "COLUMNS": "200"}
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=package, env=environment, capture_output=True, text=True, check=False
    )


def test_it_is_found_and_passes_the_suite(package: Path) -> None:
    told = json.loads(run(package, "conjoin", "strategies", "wise_ft", "--json").stdout)
    assert told["summary"] == "Go from the base a share of the way to the mean of the contributions."
    done = run(package, "pytest", "-q", "-p", "no:cacheprovider", "test_wise_ft.py")
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "test"),
    [
        ("share * w / total for w in", "share / x.count for _ in", "test_weights"),
        ("[share * w /", "[share * w / (2 if x.offset else 1) /", "test_slices_do_not_matter"),
    ],
)
def test_the_suite_finds_what_is_wrong(package: Path, right: str, wrong: str, test: str) -> None:
    broken = STRATEGY.replace(right, wrong)
    assert broken != STRATEGY
    (package / "wise_ft.py").write_text(broken)
    done = run(package, "pytest", "-q", "-p", "no:cacheprovider", "-k", test, "test_wise_ft.py")
    assert done.returncode == 1, done.stdout[-3000:]
