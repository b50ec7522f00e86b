"""Evaluators: a function or a command that counts right answers of a candidate; what is not a count is an error."""

import json
import operator
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, cast

from conjoin.errors import BadParameterError, EvaluatorError
from conjoin.fitting.search import Score

Evaluator = Callable[[Any], Any]
"""Takes a candidate (its tensors, or the folder of its checkpoint) and returns (correct, total), two whole numbers."""

TIMEOUT_S = 3600.0
"""How long a command may take for one candidate."""
COUNT_MAX = 2**53 - 1
_TAIL_BYTES = 65_536
_PLACE = "{}"


def score_of(evaluator: Evaluator, candidate: Any, where: str) -> Score:
    """Evaluate a candidate.

    Args:
        evaluator: the function or command.
        candidate: what it takes.
        where: names the candidate in errors.

    Raises:
        EvaluatorError: it failed, or returned something else than two whole numbers, 0 ≤ correct ≤ total.
    """
    try:
        return _checked(evaluator(candidate))
    except EvaluatorError as error:
        raise EvaluatorError(error.what, where=where, hint=error.hint) from error
    except Exception as cause:
        raise EvaluatorError(
            f"the evaluator failed: {type(cause).__name__}: {cause}",
            where=where,
            hint="mend it and start again; the search goes the same way",
        ) from cause


def _checked(result: Any) -> Score:
    numbers = [_whole(number) for number in result] if isinstance(result, tuple | list) else []
    correct, total = numbers if len(numbers) == 2 else (None, None)
    if correct is None or total is None or not 0 <= correct <= total <= COUNT_MAX or not total:
        raise EvaluatorError(
            f"the evaluator returned {result!r:.200}, not two whole numbers (correct, total) with "
            "0 ≤ correct ≤ total and total above 0",
            hint="count answers and return two integers: a share such as 0.93 is not the same number everywhere",
        )
    return correct, total


def _whole(number: Any) -> int | None:
    """An integer of Python or NumPy; None of anything else."""
    if isinstance(number, bool):
        return None
    try:
        return operator.index(number)
    except TypeError:
        return None


@dataclass(frozen=True)
class Command:
    """A command that evaluates the checkpoint in a folder.

    It is started without a shell in a process group of its own, `{}` in its arguments replaced by the folder (appended
    where there is no `{}`). The last line it prints is `correct total` or `{"correct": …, "total": …}`. What it has
    started itself is ended with it.

    Attributes:
        line: the command line, split as a shell does.
        timeout_s: how long it may take.
    """

    line: str
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise BadParameterError(f"a timeout of {self.timeout_s:g} s is not above 0", hint="give seconds")

    def words(self, folder: str) -> list[str]:
        """The command for a candidate in a folder.

        Raises:
            EvaluatorError: the line is empty or has an open quotation.
        """
        try:
            words = shlex.split(self.line)
        except ValueError as cause:
            raise EvaluatorError(
                f"the evaluator {self.line!r} is no command line: {cause}", hint="close the quotation"
            ) from cause
        if not words:
            raise EvaluatorError("the evaluator is an empty command", hint="give one like 'python eval.py {}'")
        if not any(_PLACE in word for word in words):
            words.append(_PLACE)
        return [word.replace(_PLACE, folder) for word in words]

    def __call__(self, folder: str | os.PathLike[str]) -> Score:
        """Run it on one candidate.

        Raises:
            EvaluatorError: it cannot be started, failed, took too long, or printed no two whole numbers.
        """
        words = self.words(os.fspath(folder))
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            status = self._run(words, out, err)
            printed, complaint = _tail(out), _tail(err)
        said = complaint.strip().rsplit("\n", 1)[-1][-300:]
        if status is None:
            raise EvaluatorError(
                f"the evaluator took longer than {self.timeout_s:g} s and was ended",
                hint="give it more time with `--timeout SECONDS`, or less to evaluate",
            )
        if status:
            ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
            raise EvaluatorError(
                f"the evaluator {ended}" + (f": {said}" if said else ""),
                hint=f"run it by hand: `{self.line}` with a checkpoint folder in place of {_PLACE}",
            )
        return _read(printed)

    def _run(self, words: list[str], out: IO[bytes], err: IO[bytes]) -> int | None:
        """The exit status, None where it took too long; nothing of it goes on running."""
        try:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        except (OSError, ValueError) as cause:
            raise EvaluatorError(
                f"the evaluator `{words[0]}` cannot be started: {cause}", hint="check the path of the command"
            ) from cause
        try:
            return process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end_group(process)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it has started and left in its group."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _tail(stream: IO[bytes]) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(size - _TAIL_BYTES, 0))
    return stream.read().decode("utf-8", "replace")


def _read(printed: str) -> Score:
    """The counts in the last line that a command printed."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    numbers: list[Any] = []
    with suppress(ValueError, RecursionError):
        if last.startswith("{"):
            value: Any = json.loads(last)
            found = cast(dict[str, Any], value) if isinstance(value, dict) else {}
            numbers = [found.get("correct"), found.get("total")]
        else:
            numbers = [int(word) for word in last.split() if word.isascii() and word.isdecimal()]
    try:
        return _checked(tuple(numbers))
    except EvaluatorError as cause:
        raise EvaluatorError(
            f"the evaluator printed {last[:200]!r} last, not two whole numbers with 0 ≤ correct ≤ total"
            if last
            else "the evaluator printed nothing",
            hint='print counts as the last line: `412 500` or `{"correct": 412, "total": 500}`, no share and no float',
        ) from cause
