"""For every test: Hypothesis does not time examples, which says nothing on a busy machine; long files begin first."""

import re

import pytest
from hypothesis import is_hypothesis_test, settings

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
    "e2e/test_federation.py",
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


LOOPS = re.compile(r"tests/simulation/|tests/unit/test_sync_listing")
"""Tests that run the same lines for many seeds."""


def repeats(item: pytest.Item) -> bool:
    """Whether a test runs what other tests, or its own first case, have run: tracing costs up to four times as much."""
    cases = getattr(item, "callspec", None)
    later = cases is not None and any(cases.indices.values())
    return later or is_hypothesis_test(getattr(item, "obj", None)) or bool(LOOPS.match(item.nodeid))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop what pytest-cov begins to measure in a worker before its session: it would go on while the other pauses."""
    measuring = getattr(session.config.pluginmanager.getplugin("_cov"), "cov_controller", None)
    if hasattr(session.config, "workerinput") and measuring is not None:
        measuring.cov.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; the order inside a file stays. Leave what repeats out of the coverage report."""
    for item in items:
        if repeats(item):
            item.add_marker("no_cover")

    def place(item: pytest.Item) -> int:
        return next((at for at, long in enumerate(LONG) if item.nodeid.startswith(f"tests/{long}")), len(LONG))

    items.sort(key=place)
