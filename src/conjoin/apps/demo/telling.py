"""The demo's stories as lines and tables for people; runs nothing."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conjoin.apps.cli.render import count, short, table
from conjoin.apps.demo.federation import Federation
from conjoin.apps.demo.story import Story


def lines(story: Story) -> Iterable[Any]:
    """The story from top to bottom."""
    yield "One classifier of handwritten digits, tuned at three sites, each on its own digits:"
    yield ""
    rows = [
        (
            model.name,
            f"{model.digits[0]} to {model.digits[-1]}",
            share(model.own_correct, model.own_rows),
            share(model.correct, model.rows),
        )
        for model in story.models
    ]
    yield table(
        ("model", "trained on", "right on those", "right on all ten"),
        rows,
        right=("right on those", "right on all ten"),
    )
    yield ""
    yield "Each site has a replica and adds its own fine-tune. They sync when they can:"
    yield ""
    yield table(
        ("step", "what happens", "what appears (+) and goes (-) where"),
        [(str(n), step.what, ", ".join(step.changes) or "nothing new") for n, step in enumerate(story.steps, 1)],
        right=("step",),
    )
    yield ""
    yield f"Every replica now resolves {story.strategy} over what it sees:"
    yield ""
    yield table(
        ("replica", "order of arrival", "root", "output", "right"),
        [
            (e.replica, " ".join(e.arrived), short(e.root), short(e.output), share(e.correct, e.rows))
            for e in story.replicas
        ],
        right=("right",),
    )
    yield ""
    if story.identical:
        yield f"Identical: the three folders hold the same {count(len(story.files_compared), 'file')}, byte for byte."
    else:
        yield "NOT identical: this should never happen; please report it."
    yield ""
    yield "Without conjoin, one would average each model that arrives into the one at hand:"
    yield ""
    yield table(
        ("order", "model", "right"),
        [(", then ".join(p.order), short(p.digest), share(p.correct, p.rows)) for p in story.pairwise],
        right=("right",),
    )
    yield ""
    models = count(len({p.digest for p in story.pairwise}), "different model")
    yield f"The same three files, {models}: another order, another result."
    yield ""
    yield from _next(story.folder)


def federation_lines(story: Federation) -> Iterable[Any]:
    """How the federation ended; what happened before was told while it did."""
    yield ""
    yield table(
        ("replica", "operations", "root", "output", "right"),
        [
            (e.replica, str(e.operations), short(e.root), short(e.output), share(e.correct, e.rows))
            for e in story.replicas
        ],
        right=("operations", "right"),
    )
    yield ""
    if story.identical:
        yield f"Identical: the five folders hold the same {count(len(story.files_compared), 'file')}, byte for byte."
    else:
        yield "NOT identical: this should never happen; please report it."
    base, *tuned = (share(model.correct, model.rows) for model in story.models)
    yield f"Alone the base reads {base} right, the five models {', '.join(tuned)}."
    yield ""
    kill = story.kill
    moved = kill.leaves_before + kill.leaves_after
    damaged = count(kill.damaged, "object") if kill.damaged else "nothing"
    yield f"The process of {kill.site} was killed when {kill.leaves_before} of {moved} leaves had come:"
    yield f"{damaged} was damaged, and the next sync moved the other {kill.leaves_after}."
    if "south" in story.events[-1].standings[0].visible:
        yield "The model that south took back is there: centre had added it too, unknown to south."
    yield ""
    yield from _next(story.folder)


def _next(folder: Path) -> Iterable[str]:
    """Commands that work in the folder as it is now."""
    yield "What to try next:"
    yield ""
    yield f"  cd {shlex.quote(str(folder))}"
    program = "conjoin" if shutil.which("conjoin") else shlex.quote(os.path.abspath(sys.argv[0]))
    yield f"  {program} -C north status"
    yield f"  {program} -C west log --graph"
    yield f"  {program} -C south resolve ties -p density=0.5 -o merged/ties"
    yield f"  {program} -C west verify merged/ties --recompute"


def share(part: int, whole: int) -> str:
    """`93.1 %`."""
    return f"{100 * part / whole:.1f} %"
