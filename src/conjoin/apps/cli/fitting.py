"""The command that learns or searches what a strategy applies: fit; does none of it itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conjoin.apps.cli.options import MERGING, AsJson, Quiet, Shell, Where, epilog, parameters

if TYPE_CHECKING:
    from conjoin.wire.asset import Asset


def _fitted(incomplete: str) -> list[str]:
    """The names of strategies that start so and have something to fit, for shell completion."""
    from conjoin.fitting.fitters import FITTERS

    return [name for name in sorted(FITTERS) if name.startswith(incomplete)]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=MERGING,
        epilog=epilog(
            "conjoin fit evolutionary_merge --evaluator 'python eval.py {}' -o asset.json",
            "conjoin fit evolutionary_merge --evaluator ./eval -p inner=ties --group layers:8 -o asset.json",
            "conjoin fit genetic_merge --evaluator ./eval --evaluations 400 --population 25 -o asset.json",
            "conjoin resolve evolutionary_merge --asset asset.json -o merged/",
            "conjoin fit ada_merging --data 7f3a=mnli.jsonl --data 19c2=sst2.jsonl -o asset.json",
            "conjoin fit dam --model mynet:make --data 7f3a=a.safetensors --data 19c2=b.safetensors -o asset.json",
        ),
    )(fit)


def fit(
    ctx: typer.Context,
    strategy: Annotated[
        str,
        typer.Argument(metavar="STRATEGY", help="The strategy that will apply what is found.", autocompletion=_fitted),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The asset to make; must not exist.")],
    params: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="NAME=VALUE", help="A parameter of the strategy, as for resolve."),
    ] = None,
    evaluator: Annotated[
        str | None,
        typer.Option(
            "--evaluator",
            metavar="COMMAND",
            help="Searches: run for each candidate, {} is its checkpoint folder; the last line it prints is two whole "
            'numbers `correct total`, or {"correct": 412, "total": 500}.',
        ),
    ] = None,
    evaluations: Annotated[
        int | None,
        typer.Option(
            "--evaluations",
            metavar="N",
            help="Searches: candidates to try (default: 100 for evolutionary_merge, 200 for genetic_merge).",
        ),
    ] = None,
    population: Annotated[
        int | None,
        typer.Option(
            "--population",
            metavar="N",
            help="Searches: candidates per generation (default: 4 + 3 ln d for evolutionary_merge, 20 for "
            "genetic_merge).",
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            metavar="GLOB",
            help="Searches: tensors with weights and densities of their own; `layers:N` is one group for every N "
            "layers (default: one for all).",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="Searches: how long the evaluator may take (default: 3600)."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="[DIGEST=]FILE",
            help="Learning: the examples of a contribution's task, as for `conjoin stats`; one for every contribution. "
            "Searches: a file the evaluator reads, to have its digest in the asset.",
        ),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            "--head",
            metavar="DIGEST=FILE",
            help="Learning: tensors that stand for the merged ones in that contribution's task, such as its head.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODULE:FUNCTION",
            help="Learning: your Python function that returns the torch module; it is imported and called. Without it "
            "the base's config.json says which model of transformers it is.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            help="Learning: steps of the optimiser (default: 500; 10000 for adarank; once through the data for dam).",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", metavar="N", min=1, help="Learning: examples of a task in a step (default: 16; 1 for dam)."
        ),
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", metavar="NUMBER", help="Learning: the learning rate (default: 0.001).")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", min=0, help="Learning: names the order of the examples (default: 0)."),
    ] = None,
    task_wise: Annotated[
        bool, typer.Option("--task-wise", help="ada_merging: one coefficient per contribution, not one per tensor too.")
    ] = False,
    initial: Annotated[
        str | None,
        typer.Option(
            "--initial",
            metavar="SHARE",
            help="adarank: share of each matrix's triplets kept at first (default: 1; 0.16 around the mean).",
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option("--rank", metavar="N", min=1, help="representation_surgery: rank of the adapters (default: 16)."),
    ] = None,
    features_of: Annotated[
        str | None,
        typer.Option(
            "--features-of",
            metavar="NAME",
            help="representation_surgery: the module whose input the features are (default: the last Linear).",
        ),
    ] = None,
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Learn or search what a strategy applies, and write it as an asset.

    The asset is for what is visible now; `conjoin resolve STRATEGY --asset FILE` applies it, with the same bytes on
    every replica. A search draws from the root alone: replicas with the same answers find the same asset. Learning
    (ada_merging, adarank, dam, representation_surgery) runs the models and needs torch (extra `torch`).
    """
    from conjoin.fitting.fitters import Request, write
    from conjoin.fitting.fitters import fit as run
    from conjoin.fitting.statistics import require_absent

    shell = Shell.of(ctx, where, as_json, quiet)
    given = {
        "evaluator": evaluator,
        "evaluations": evaluations,
        "population": population,
        "group": group,
        "timeout": timeout,
        "data": data,
        "head": head,
        "model": model,
        "steps": steps,
        "batch": batch,
        "rate": rate,
        "seed": seed,
        "task_wise": task_wise or None,
        "initial": initial,
        "rank": rank,
        "features_of": features_of,
    }
    options = {name: value for name, value in given.items() if value is not None and value != []}
    require_absent(out)
    with shell.replica() as replica, shell.bar() as bar:
        asset = run(Request(replica, strategy, parameters(params or []), options, bar))
        write(asset, out)
        root = replica.root

    def human() -> list[Any]:
        from conjoin.apps.cli.render import count, facts, short

        k = count(len(asset.contributions), "contribution")
        rows = [("made", str(out)), ("for", f"{strategy} over {k}, root {short(root)}"), ("asset", asset.digest)]
        again = " ".join(f"-p {text}" for text in params or [])
        words = f"resolve {strategy} --asset {out} {again}".rstrip() + " -o merged/"
        return [facts([*rows, *_found(asset)]), f"next: {shell.command(words)}"]

    shell.tell({**asset.to_json(), "digest": asset.digest, "out": str(out)}, brief=asset.digest, human=human)


def _found(asset: "Asset") -> list[tuple[str, str]]:
    """What a search has to say about its winner, and learning about its loss."""
    if "loss" in asset.evidence:
        loss: dict[str, str] = asset.evidence["loss"]
        return [("learned", f"loss {loss['start']} → {loss['end']} in {asset.evidence['steps']} steps")]
    history: list[dict[str, Any]] = asset.evidence.get("history", [])
    winner = asset.evidence.get("winner")
    if not isinstance(winner, int) or not history:
        return []
    first, best = history[0], history[winner]
    return [
        (
            "found",
            f"{best['correct']} of {best['total']} right, candidate {winner + 1} of {len(history)}; "
            f"equal weights: {first['correct']} of {first['total']}",
        )
    ]
