"""The guide of three hospitals runs as it is written, against a bucket on loopback."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.shell import InProcess
from tests.places.servers import S3

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "three-hospitals-and-a-bucket.md"
PLACE = "s3://hospital-models/radiology"


def test_the_guide_runs_as_written(
    s3: S3, url: str, models: Path, here: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)).splitlines()
    assert sum(PLACE in line for line in lines) >= 8
    shutil.copytree(models / "base", tmp_path / "base")
    for site in ("north", "south", "west"):
        (tmp_path / f"tuned-{site}").mkdir()
        shutil.copy(models / f"{site}.safetensors", tmp_path / f"tuned-{site}" / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    last = max(number for number, line in enumerate(lines) if " sync " in line)
    told = ""
    for number, line in enumerate(lines):
        words = shlex.split(line.replace(PLACE, url))
        if words[-1] in {"SOUTH-KEY", "WEST-KEY"}:
            words[-1] = here.ok("-q", "-C", words[-1].partition("-")[0].lower(), "whoami").strip()
        if number != last and words[0] == "conjoin":
            told += here.ok(*words[1:])
            continue
        command = [sys.executable, "-m", *words] if words[0] == "conjoin" else words  # one in a process of its own
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, done.stderr) == (0, ""), line
    assert "3 visible contributions" in told
    assert (tmp_path / "merged-west" / "conjoin.json").is_file()
