"""For every test: Hypothesis does not time examples, which says nothing on a busy machine; long files begin first."""

import re

import pytest
from hypothesis import settings

settings.register_profile("conjoin", deadline=None)
settings.load_profile("conjoin")

LONG = (
    "determinism/test_environments.py",
    "kill/test_kill_sync.py",
    "kill/test_kill_running.py",
    "kill/test_kill_resolve.py",
    "kill/test_flips.py",
    "e2e/test_story.py",
    "compat/test_three_sites.py",
    "kill/test_kill_add.py",
    "determinism",
    "unit/test_kernels_backend.py",
    "unit/test_kernels_device.py",
    "strategies/test_slerp.py",
    "strategies",
)
"""Files and folders in the order in which two workers that take files in turn are done at the same time.

The first compiles every kernel, and keeps the machine code for what comes later; those that follow it need few.
"""


NOT_TRACED = re.compile(r"tests/simulation/|tests/unit/test_sync_listing|tests/strategies/.*\[(F16|F64)")
"""Tests that run long in Python, and lines that others reach: tracing them would take two thirds of their time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; the order inside a file stays. Leave some out of the coverage report."""
    for item in items:
        if NOT_TRACED.match(item.nodeid):
            item.add_marker("no_cover")

    def place(item: pytest.Item) -> int:
        return next((at for at, long in enumerate(LONG) if item.nodeid.startswith(f"tests/{long}")), len(LONG))

    items.sort(key=place)
