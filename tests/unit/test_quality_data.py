"""The tasks of the quality benchmark follow from their integer seeds alone."""

import numpy as np
import pytest
from benchmarks.quality.data import CLASSES, LENGTH, Sizes, make_task

SIZES = Sizes(train=50, validation=20, test=30)


def signals(seed: int, kind: str = "task", number: int = 0, sizes: Sizes = SIZES, domain: float = 0.4) -> bytes:
    return make_task(seed, kind, number, sizes, domain=domain).train.signals.tobytes()


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again = (make_task(7, "task", 3, SIZES, domain=0.4) for _ in range(2))
    for part in ("train", "validation", "test"):
        left, right = getattr(first, part), getattr(again, part)
        assert left.signals.tobytes() == right.signals.tobytes()
        assert left.labels.tobytes() == right.labels.tobytes()


def test_what_was_drawn_before_does_not_matter() -> None:
    expected = signals(7)
    np.random.default_rng(7).random(100)
    signals(8)
    assert signals(7) == expected


@pytest.mark.parametrize("other", [{"seed": 8}, {"number": 1}, {"kind": "pretraining"}, {"domain": 0.2}])
def test_other_names_give_other_signals(other: dict[str, object]) -> None:
    assert signals(**{"seed": 7, **other}) != signals(7)  # type: ignore[arg-type]


def test_parts_do_not_depend_on_each_others_sizes() -> None:
    small = make_task(7, "task", 0, Sizes(train=10, validation=20, test=30), domain=0.4)
    assert small.test.signals.tobytes() == make_task(7, "task", 0, SIZES, domain=0.4).test.signals.tobytes()


def test_signals_are_what_the_net_takes() -> None:
    task = make_task(0, "task", 0, SIZES, domain=0.4)
    assert task.train.signals.shape == (50, LENGTH)
    assert task.train.signals.dtype == np.float32
    assert np.isfinite(task.train.signals).all()
    assert set(task.train.labels) <= set(range(CLASSES))
    assert len(task.train.of_classes([0, 1])) == sum(label < 2 for label in task.train.labels)
    assert len(task.test.first(5)) == 5


def test_a_seed_is_these_signals() -> None:
    """A few values, so that results of different versions are of the same tasks."""
    task = make_task(0, "task", 0, SIZES, domain=0.4)
    assert task.train.labels[:6].tolist() == [8, 5, 8, 1, 8, 6]
    assert task.train.signals[0, :4].tolist() == pytest.approx([0.3281945, 0.0849782, -0.5208916, -0.1761334], abs=1e-5)
