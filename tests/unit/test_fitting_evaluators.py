"""Evaluators: counts are taken, all else is an error that names the candidate; nothing is left running."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from conjoin.errors import BadParameterError, EvaluatorError
from conjoin.fitting.evaluators import Command, score_of

WHERE = "candidate 7"


def python(code: str) -> str:
    """A command that runs a line of Python with the folder as its argument."""
    return f'{sys.executable} -S -c "{code}" {{}}'


@pytest.mark.parametrize("counts", [(3, 4), [0, 1], (np.int64(5), np.uint8(5))])
def test_counts_are_taken(counts):
    assert score_of(lambda _: counts, None, WHERE) == (int(counts[0]), int(counts[1]))


@pytest.mark.parametrize(
    "result",
    [0.75, (0.5, 1), (1.0, 2.0), (True, True), 3, (1, 2, 3), "12", {"correct": 1}, (2, 1), (-1, 1), (0, 0), (1, 2**60)],
)
def test_anything_else_is_refused(result):
    with pytest.raises(EvaluatorError, match="two whole numbers") as caught:
        score_of(lambda _: result, None, WHERE)
    assert (caught.value.where, caught.value.code) == (WHERE, "E214")


def test_a_function_that_fails():
    with pytest.raises(EvaluatorError, match="KeyError: 'w'") as caught:
        score_of(lambda candidate: candidate["w"], {}, WHERE)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    "printed", ["print(3, 4)", "print(0.5); print(3, 4); print()", "print('{\\'correct\\': 3, \\'total\\': 4}')"]
)
def test_a_command_prints_counts_last(printed, tmp_path):
    line = python(printed.replace("\\'", "\\x22"))
    assert score_of(Command(line), tmp_path, WHERE) == (3, 4)


def test_a_command_gets_the_folder_where_it_says(tmp_path):
    code = "import sys; print(len(sys.argv[1]), len(sys.argv[1]))"
    place = tmp_path / "a folder {with} blanks"
    expected = (len(str(place)),) * 2
    assert Command(python(code))(place) == expected
    assert Command(python(code).replace(" {}", ""))(place) == expected
    inside = (len(str(place)) + 2,) * 2
    assert Command(python(code).replace("{}", "x={}"))(place) == inside


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (python("print(0.93)"), "printed '0.93' last"),
        (python("print('3 4 5')"), "printed '3 4 5' last"),
        (python("print('1_0 20')"), "printed '1_0 20' last"),
        (python("print('{} 4')"), "printed"),
        (python("print('[3, 4]')"), "printed"),
        (python("print(5, 4)"), "printed '5 4' last"),
        (python("print('{\\x22correct\\x22: 1.0, \\x22total\\x22: 2}')"), "printed"),
        (python("pass"), "printed nothing"),
        (python("raise SystemExit('out of paper')"), "ended with status 1: out of paper"),
        (python("import os; os.kill(os.getpid(), 9)"), "ended by signal 9"),
        ("/no/such/program {}", "cannot be started"),
        ("", "empty command"),
        ("python 'eval.py", "no command line"),
    ],
)
def test_a_bad_command_is_named(line, message, tmp_path):
    with pytest.raises(EvaluatorError) as caught:
        score_of(Command(line), tmp_path, WHERE)
    assert message in caught.value.what
    assert caught.value.where == WHERE
    assert caught.value.hint


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan")])
def test_a_timeout_is_above_zero(timeout_s):
    with pytest.raises(BadParameterError):
        Command("true", timeout_s)


def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path):
    note = tmp_path / "pid"
    child = (
        f"import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); open('{note}', 'w').write(str(p.pid))"
    )
    for rest, message in (("; time.sleep(600)", "longer than 5 s"), ("; print(3.5)", "printed '3.5'")):
        with pytest.raises(EvaluatorError, match=message):
            Command(python(child + rest), 5.0)(tmp_path)
        assert _is_gone(int(note.read_text()))


def _is_gone(pid: int) -> bool:
    """Whether a process has ended, or will at once."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.01)
    return False
