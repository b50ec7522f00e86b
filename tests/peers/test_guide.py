"""The commands of docs/guides/two-laptops.md run as they are written, on two replicas of one machine."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from tests.peers.world import CONJOIN, ENVIRONMENT, Server, write_model

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "two-laptops.md"


def test_two_laptops_as_written(folder: Path) -> None:
    for seed, name in enumerate(("base", "ada-tuned", "ben-tuned")):
        write_model(folder / f"{name}.safetensors", seed)
    lines = re.findall(r"^(ada|ben)\$ (.*)$", GUIDE.read_text("utf-8"), re.MULTILINE)
    commands = [shlex.split(text) for _, text in lines]
    serving = next(number for number, words in enumerate(commands) if "serve" in words)

    def run(words: list[str], ticket: str = "") -> None:
        words = [ticket if word == "TICKET" else word for word in words]
        words += ["--rounds", "1"] if "gossip" in words else []
        command = [*CONJOIN, *words[1:]] if words[0] == "conjoin" else words
        done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stdout, done.stderr)

    for words in commands[:serving]:
        run(words)
    assert commands[serving] == shlex.split("conjoin -C ada serve --invite --bind 0.0.0.0:4433")
    with Server(folder / "ada", "--invite") as server:
        for words in commands[serving + 1 :]:
            run(words, server.ticket)
    assert len(commands) == 12
