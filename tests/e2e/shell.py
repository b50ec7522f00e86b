"""Runs the real command line in processes of its own and keeps a transcript; knows nothing of the rooms."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path

import pytest

from conjoin.apps.cli import run

SNAPSHOTS = Path(__file__).parent / "snapshots"
REWRITE = "CONJOIN_SNAPSHOTS"
"""Set this variable to `write` to accept what the commands print now; then read the difference before committing it."""

_HEX = re.compile(r"(?<![0-9a-zA-Z])[0-9a-f]{8,64}(?![0-9a-zA-Z])")
_OPENSSH = re.compile(r"AAAAC3NzaC1lZDI1NTE5[A-Za-z0-9+/=]+")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_AGO = re.compile(r"(?:just now|[0-9]+ (?:second|minute)s? ago)$", re.MULTILINE)
_PEERS = re.compile(r"^(peer +where +has +met\n)─+", re.MULTILINE)
_COST = re.compile(r"^(cost +)\S.*", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """What one command did."""

    stdout: str
    stderr: str
    status: int


@dataclass(frozen=True)
class InProcess:
    """The same command line without a process of its own, where a test is about what it answers and not about it."""

    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str | Path) -> Result:
        """Run `conjoin ARGUMENTS` here; a traceback is a failure whatever the test looks at."""
        self.capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err, err
        return Result(out, err, status)

    def ok(self, *arguments: str | Path) -> str:
        """Run a command that must succeed and say nothing on stderr; its stdout."""
        result = self.run(*arguments)
        assert (result.status, result.stderr) == (0, ""), result
        return result.stdout


@dataclass
class Shell:
    """A terminal in `folder`: 80 columns, no colour. Keeps what was typed and printed."""

    folder: Path
    transcript: list[str] = field(default_factory=list)

    def run(self, *arguments: str, record: bool = True, columns: int = 80) -> Result:
        """Run `conjoin ARGUMENTS`; a traceback is a failure whatever the test looks at."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CONJOIN", "_CONJOIN"))},
            "COLUMNS": str(columns),
            "NO_COLOR": "1",
            "PYTHONIOENCODING": "utf-8",
        }
        done = subprocess.run(
            [sys.executable, "-m", "conjoin", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            timeout=120,
            check=False,
        )
        result = Result(done.stdout.decode(), done.stderr.decode(), done.returncode)
        assert "Traceback" not in result.stderr, result.stderr
        if record:
            typed = " ".join(f"'{a}'" if " " in a or not a else a for a in arguments)
            lines = [f"$ conjoin {typed}", result.stdout.rstrip("\n")]
            lines += [f"! {line}" for line in result.stderr.splitlines()]
            lines += [f"[exit status {result.status}]"] if result.status else []
            self.transcript.append("\n".join(line for line in lines if line) + "\n")
        return result

    def ok(self, *arguments: str, record: bool = True) -> str:
        """Run a command that must succeed and say nothing on stderr; its stdout."""
        result = self.run(*arguments, record=record)
        assert (result.status, result.stderr) == (0, ""), result
        return result.stdout

    def note(self, text: str) -> None:
        """Write a heading into the transcript."""
        self.transcript.append(f"# {text}\n")


def normalised(text: str, folder: Path) -> str:
    """`text` with digests numbered by first appearance at the same width; paths, times, keys and costs made equal."""
    text = text.replace(str(folder), "FOLDER")
    text = _OPENSSH.sub("OPENSSH-KEY", _FINGERPRINT.sub("SHA256:FINGERPRINT", _TIME.sub("TIME", text)))
    text = _PEERS.sub(r"\1────", _AGO.sub("SOMETIME AGO", text))
    text = _COST.sub(r"\1FIGURES", text)
    numbers: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        digest = match.group()
        number = numbers.setdefault(digest[:8], len(numbers) + 1)
        return f"digest{number:02d}".ljust(min(len(digest), 64), "·")

    return _HEX.sub(numbered, text)


def check_snapshot(name: str, text: str) -> None:
    """Compare with the kept text, or keep it when told so."""
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get(REWRITE) == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"no snapshot {path.name}: run with {REWRITE}=write"
    kept = path.read_text(encoding="utf-8")
    changes = "\n".join(unified_diff(kept.splitlines(), text.splitlines(), "kept", "printed", lineterm=""))
    assert not changes, f"{path.name} differs; accept it with {REWRITE}=write\n{changes}"


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """The command line in this process, 80 columns wide and without colour."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    return InProcess(capsys)
