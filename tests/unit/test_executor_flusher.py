"""Flushing while work goes on: what is written is flushed, one flush at a time, and an error is never lost."""

import os
import threading
from pathlib import Path

import pytest
from tests.unit.models import noisy, plan_of

from conjoin.errors import DeviceError
from conjoin.executor import check_output, execute, flusher
from conjoin.executor.flusher import FLUSH_BYTES, Flusher
from conjoin.plan import Recipe
from conjoin.store.memory import MemoryStore


def test_a_flush_begins_when_enough_is_written_and_none_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    go_on = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda descriptor: (flushed.append(descriptor), go_on.wait(10)))
    one = Flusher()
    one.wrote(7, FLUSH_BYTES - 1)
    one.finish()
    assert flushed == []
    one.wrote(7, 1)
    one.wrote(8, FLUSH_BYTES)  # the first flush still waits
    go_on.set()
    one.finish()
    assert flushed == [7]
    one.wrote(9, 0)
    one.close()
    assert flushed == [7, 9]


@pytest.mark.parametrize("then", ["wrote", "finish"])
def test_a_failed_flush_is_raised_by_the_next_call(then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    one = Flusher()
    one.wrote(7, FLUSH_BYTES)
    assert one._flush is not None
    one._flush.exception()
    with pytest.raises(OSError, match="Input/output"):
        one.finish() if then == "finish" else one.wrote(7, FLUSH_BYTES)
    one.close()


def test_an_output_whose_flush_failed_does_not_appear(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flusher, "FLUSH_BYTES", 1)
    models = [noisy({"a": (70_000,), "b": (300, 400)}, seed) for seed in range(3)]
    store = MemoryStore()
    plan = plan_of(store, models[0], models[1:], Recipe.of("linear"))
    check_output(tmp_path / "out", execute(plan, store, tmp_path / "out"), plan)

    real, failures = os.fsync, [OSError(5, "Input/output error")]
    caller = threading.current_thread()

    def once(descriptor: int) -> None:
        if threading.current_thread() is not caller and failures:
            raise failures.pop()
        real(descriptor)

    monkeypatch.setattr(os, "fsync", once)
    with pytest.raises(DeviceError):
        execute(plan, store, tmp_path / "again", threads=1)
    assert not (tmp_path / "again").exists()
    assert not failures
