"""The demo's story as lines and tables for people; runs nothing."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from typing import Any

from conjoin.apps.cli.render import count, short, table
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
    yield from _next(story)


def _next(story: Story) -> Iterable[str]:
    """Commands that work in the folder as it is now."""
    yield "What to try next:"
    yield ""
    yield f"  cd {shlex.quote(str(story.folder))}"
    program = "conjoin" if shutil.which("conjoin") else shlex.quote(os.path.abspath(sys.argv[0]))
    yield f"  {program} -C north status"
    yield f"  {program} -C west log --graph"
    yield f"  {program} -C south resolve ties -p density=0.5 -o merged/ties"
    yield f"  {program} -C west verify merged/ties --recompute"


def share(part: int, whole: int) -> str:
    """`93.1 %`."""
    return f"{100 * part / whole:.1f} %"
