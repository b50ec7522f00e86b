"""The command that makes side-cars from a model and examples: stats; computes nothing itself."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conjoin.apps.cli.options import CONTRIBUTIONS, AsJson, Quiet, Shell, epilog
from conjoin.errors import UsageError

if TYPE_CHECKING:
    from conjoin.fitting.statistics import Statistic
    from conjoin.progress import Progress


class Kind(StrEnum):
    """Which side-car to make."""

    fisher = "fisher"
    gram = "gram"
    importance = "importance"
    features = "features"


class WhoseLabels(StrEnum):
    """Whose labels the loss is of."""

    model = "model"
    given = "given"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=CONTRIBUTIONS,
        epilog=epilog(
            "conjoin stats fisher my-finetune/ --data train.jsonl -o fisher.safetensors",
            "conjoin stats gram my-finetune/ --data train.jsonl --examples 1000 -o gram.safetensors",
            "conjoin stats importance my-finetune/ --base base/ --data train.jsonl -o importance.safetensors",
            "conjoin stats features my-finetune/ --data inputs.safetensors --features-of classifier -o z.safetensors",
            "conjoin stats fisher net.safetensors --model mynet:make --data digits.safetensors -o fisher.safetensors",
        ),
    )(stats)


def stats(
    ctx: typer.Context,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="fisher, gram, importance or features.")],
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="The fine-tune: a Hugging Face folder or a safetensors file.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Examples: lines of JSON with `text` and maybe `label` (.jsonl), or a safetensors file of the model's "
            "inputs and maybe `labels`, first dimension = examples.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The side-car to make; must not exist.")],
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", min=1, help="How many examples to use, from the first on.")
    ] = 256,
    labels: Annotated[
        WhoseLabels | None,
        typer.Option(
            "--labels",
            metavar="model|given",
            help="Whose labels: what the model predicts (default for fisher), or the data's (default for importance).",
        ),
    ] = None,
    base: Annotated[
        Path | None, typer.Option("--base", metavar="CHECKPOINT", help="The base, which importance is measured of too.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODULE:FUNCTION",
            help="Your Python function that returns the torch module; it is imported and called. Without it the "
            "folder's config.json says which model of transformers it is; no code of the folder is run.",
        ),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option("--head", metavar="FILE", help="Tensors of the model that the checkpoint lacks, such as a head."),
    ] = None,
    features_of: Annotated[
        str,
        typer.Option(
            "--features-of", metavar="NAME", help="The module whose input the features are (default: the last Linear)."
        ),
    ] = "",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a side-car from a fine-tune and examples of its task.

    fisher, for fisher_merge: the diagonal Fisher information. gram, for regression_mean: XᵀX/n of what goes into every
    linear module. importance, for led_merge: the SNIP scores of fine-tune and base. features: the last representation
    of every example, what representation_surgery compares. Needs torch (extra `torch`).
    """
    shell = Shell.of(ctx, None, as_json, quiet)
    _check(kind, base=base, labels=labels, features_of=features_of)
    with shell.bar("examples") as bar:
        made = _make(kind, checkpoint, data, out, bar, examples, labels, base, model, head, features_of)

    def human() -> list[Any]:
        from conjoin.apps.cli.render import count

        used = count(int(made.facts["examples"]), "example")
        return [
            f"{kind}: {count(len(made.tensors), 'tensor')} from {used}, in {out}",
            *(f"note: {line}" for line in made.notes),
            f"next: {shell.command(f'add {checkpoint} --extra {kind}={out}')}",
        ]

    found = {"out": out, "tensors": len(made.tensors), **made.facts, "notes": made.notes}
    shell.tell(found, brief=str(out), human=human)


def _check(kind: Kind, *, base: Path | None, labels: WhoseLabels | None, features_of: str) -> None:
    """Refuse options that the side-car has no use for, and the lack of one that it needs."""
    if kind is Kind.importance and base is None:
        raise UsageError(
            "importance is measured of the base too, and there is no --base", hint="add `--base CHECKPOINT`"
        )
    for option, given, takers in (
        ("--base", base is not None, (Kind.importance,)),
        ("--labels", labels is not None, (Kind.importance, Kind.fisher)),
        ("--features-of", bool(features_of), (Kind.features,)),
    ):
        if given and kind not in takers:
            raise UsageError(f"{kind} takes no {option}", hint=f"{option} is for {' and '.join(takers)}")


def _make(
    kind: Kind,
    checkpoint: Path,
    data: Path,
    out: Path,
    bar: "Progress",
    examples: int,
    labels: WhoseLabels | None,
    base: Path | None,
    model: str | None,
    head: Path | None,
    features_of: str,
) -> "Statistic":
    """Make the side-car and write it."""
    from conjoin.fitting import statistics

    statistics.require_absent(out)
    whose = labels.value if labels is not None else "given" if kind is Kind.importance else "model"
    run = statistics.open_run(checkpoint, data, factory=model, head=head, examples=examples, labels=whose, progress=bar)
    if kind is Kind.fisher:
        made = statistics.fisher(run)
    elif kind is Kind.gram:
        made = statistics.gram(run)
    elif kind is Kind.features:
        made = statistics.features(run, features_of)
    else:
        assert base is not None
        made = statistics.importance(run, statistics.of_base(run, base))
    statistics.write(made, out)
    return made
