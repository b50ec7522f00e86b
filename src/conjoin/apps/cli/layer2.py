"""The commands that merge and check: resolve, verify, strategies; each calls the public API once."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conjoin.apps.cli.options import (
    MERGING,
    AsJson,
    Quiet,
    Shell,
    Where,
    assignments,
    epilog,
    parameters,
    size_in_bytes,
)
from conjoin.errors import MissingFileError, UsageError

if TYPE_CHECKING:
    from conjoin.plan import Recipe
    from conjoin.progress import Progress
    from conjoin.replica import Replica
    from conjoin.wire.asset import Asset


class OutDtype(StrEnum):
    """The dtype of float tensors in the output."""

    base = "base"
    bf16 = "BF16"
    f16 = "F16"
    f32 = "F32"
    f64 = "F64"


class Singleton(StrEnum):
    """What to do with one visible contribution."""

    apply = "apply"
    identity = "identity"


class Missing(StrEnum):
    """What to do about a tensor of the base that a contribution lacks."""

    error = "error"
    exclude = "exclude"
    base = "base"


class ExtraTensors(StrEnum):
    """What to do about a tensor that the base lacks."""

    error = "error"
    drop = "drop"
    keep = "keep"


class Integers(StrEnum):
    """Whose value an integer or bool tensor takes where contributions differ."""

    base = "base"
    majority = "majority"


def _names_from(incomplete: str) -> list[str]:
    """The names of strategies that start so, for shell completion."""
    from conjoin.strategies.base import strategies as known

    return [name for name in known() if name.startswith(incomplete)]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        rich_help_panel=MERGING,
        epilog=epilog(
            "conjoin resolve weight_average -o merged/",
            "conjoin resolve ties -p density=0.3 -p scale=0.8 -o merged/",
            "conjoin resolve slerp -p t.7f3a91c2=0.3 -o merged/",
            "conjoin resolve linear --weight 7f3a91c2=0.7 --weight 02be44d0=0.3 -o merged/",
            "conjoin resolve evolutionary_merge --evaluator 'python eval.py {}' -o merged/",
            "conjoin resolve --recipe recipe.json -o merged/",
            "conjoin resolve weight_average --running -o merged/",
            "conjoin resolve safe_merge -p role.7f3a91c2=safe -p role.02be44d0=unaligned -o merged/",
            "conjoin resolve ada_merging --asset asset.json -o merged/",
        ),
    )(resolve)
    app.command(
        rich_help_panel=MERGING, epilog=epilog("conjoin verify merged/", "conjoin -C site-b verify merged/ --recompute")
    )(verify)
    app.command(rich_help_panel=MERGING, epilog=epilog("conjoin task merged/ 7f3a91c2 -o site-a-model/"))(task)
    app.command(rich_help_panel=MERGING, epilog=epilog("conjoin strategies", "conjoin strategies ties"))(strategies)


def resolve(
    ctx: typer.Context,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            metavar="OUT",
            help="The checkpoint folder to make, with those above it; must not exist.",
        ),
    ],
    strategy: Annotated[
        str | None,
        typer.Argument(
            metavar="STRATEGY",
            help="How to combine; `conjoin strategies` lists them.",
            autocompletion=_names_from,
        ),
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--param", metavar="NAME=VALUE", help="A parameter; NAME.DIGEST=VALUE for one contribution."
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weight", metavar="DIGEST=W", help="Use this weight for a contribution instead of its own; 0 is allowed."
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="FILE", help="A recipe as JSON, instead of STRATEGY and its options."),
    ] = None,
    dtype: Annotated[OutDtype | None, typer.Option("--dtype", help="Dtype of the output's float tensors.")] = None,
    singleton: Annotated[
        Singleton | None,
        typer.Option("--singleton", help="With one visible contribution: run the strategy, or copy it."),
    ] = None,
    missing: Annotated[
        Missing | None,
        typer.Option(
            "--missing", help="A tensor that a contribution lacks: refuse, leave it out there, or take the base's."
        ),
    ] = None,
    extra_tensors: Annotated[
        ExtraTensors | None,
        typer.Option("--extra-tensors", help="A tensor that the base lacks: refuse, drop or keep it."),
    ] = None,
    integers: Annotated[
        Integers | None,
        typer.Option("--integers", help="Integer tensors that differ: the base's value or the majority's."),
    ] = None,
    shard_size: Annotated[
        str, typer.Option("--shard-size", metavar="SIZE", help="Largest size of an output file, such as 5GB.")
    ] = "5GB",
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", min=1, max=1024, help="Workers (default: the cores there are)."),
    ] = None,
    memory: Annotated[
        str | None, typer.Option("--memory", metavar="SIZE", help="Budget for buffers, such as 512MB.")
    ] = None,
    trust_store: Annotated[
        bool, typer.Option("--trust-store", help="Do not verify copied content again; files added in place always are.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            help="Compute on a device of torch (extra `torch`), such as cuda: the same bytes.",
        ),
    ] = None,
    assets: Annotated[
        list[Path] | None,
        typer.Option(
            "--asset", metavar="FILE", help="What `conjoin fit` made, for strategies that apply what was learned."
        ),
    ] = None,
    evaluator: Annotated[
        str | None,
        typer.Option(
            "--evaluator",
            metavar="COMMAND",
            help="For evolutionary_merge and genetic_merge: search first, as `conjoin fit` does with its defaults, and "
            "apply what is found.",
        ),
    ] = None,
    running: Annotated[
        bool,
        typer.Option(
            "--running",
            help="Keep running sums, up to 4 times a BF16 model, so that the next resolve reads only what has changed: "
            "for averages, linear, task_arithmetic, and dare with masks per contribution.",
        ),
    ] = False,
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Merge the visible contributions into one checkpoint folder.

    Every replica that sees the same contributions makes the same bytes. OUT is a Hugging Face folder with a receipt,
    conjoin.json; config and tokenizer come from the base.
    """
    from conjoin.executor.workfolder import require_absent
    from conjoin.store.assets import read_asset

    shell = Shell.of(ctx, where, as_json, quiet)
    shard_size_bytes = size_in_bytes(shard_size, "--shard-size")
    memory_bytes = None if memory is None else size_in_bytes(memory, "--memory")
    chosen = {
        "out_dtype": dtype,
        "singleton": singleton,
        "missing": missing,
        "extra": extra_tensors,
        "integers": integers,
    }
    options = {name: value.value for name, value in chosen.items() if value is not None}
    with shell.replica() as replica, shell.bar() as bar:
        known = [read_asset(path) for path in assets or ()]
        if evaluator is not None:
            if strategy is None or recipe is not None or known:
                raise UsageError(
                    "--evaluator searches for a STRATEGY that has no --asset yet", hint="leave --recipe and --asset out"
                )
            require_absent(out)
            known = [_searched(replica, strategy, evaluator, params or [], weights or [], options, bar)]
        chosen_asset = known[0].digest if len(known) == 1 else None
        sums = replica.running_sums() if running else None
        receipt = replica.resolve(
            _recipe(replica, strategy, recipe, params or [], weights or [], options, chosen_asset),
            out,
            shard_size_bytes=shard_size_bytes,
            threads=threads,
            memory_bytes=memory_bytes,
            trust_store=trust_store,
            device=device,
            running=sums or False,
            assets=known,
            progress=bar,
        )

    def human() -> list[Any]:
        from conjoin.apps.cli.render import count, facts, running_line, short

        k = count(len(receipt.contributions), "contribution")
        return [
            facts(
                [
                    ("made", str(out)),
                    ("by", f"{receipt.recipe.strategy} over {k}, root {short(receipt.root)}"),
                    ("output", receipt.output),
                    ("recipe", receipt.recipe_digest),
                    *([("running", running_line(sums.report, receipt.recipe.strategy))] if sums else []),
                ]
            ),
            f"next: {shell.command(f'verify {out}')}, or the same on any other replica of the space",
        ]

    done = {} if sums is None else {"running": asdict(sums.report)}
    shell.tell({**receipt.to_json(), **done}, brief=receipt.output, human=human)
    if not shell.as_json:
        from conjoin.apps.cli.render import warn

        for warning in receipt.warnings:
            warn(warning)


def _searched(
    replica: "Replica",
    strategy: str,
    evaluator: str,
    params: list[str],
    weights: list[str],
    options: dict[str, str],
    progress: "Progress",
) -> "Asset":
    """The asset that a search with the default settings finds."""
    from conjoin.fitting.evaluators import Command
    from conjoin.fitting.searching import Settings, search_and_asset

    settings = Settings(strategy, parameters(params))
    chosen = assignments(weights, "--weight", "DIGEST=W")
    return search_and_asset(replica, settings, Command(evaluator), weights=chosen, options=options, progress=progress)


def _recipe(
    replica: "Replica",
    strategy: str | None,
    file: Path | None,
    params: list[str],
    weights: list[str],
    options: dict[str, str],
    asset: str | None,
) -> "Recipe":
    """The recipe that the command line states, by a file or by options."""
    if file is not None:
        if strategy or params or weights or options:
            raise UsageError(
                "--recipe is given together with STRATEGY, -p, --weight or a rule for special cases",
                hint="write everything into the recipe file, or leave --recipe out",
            )
        from conjoin.plan import read_recipe

        if not file.is_file():
            raise MissingFileError("the recipe file is not there", where=str(file), hint="check the path of --recipe")
        return read_recipe(file.read_bytes())
    if strategy is None:
        raise UsageError("no strategy is named", hint="`conjoin strategies` lists them; or give `--recipe FILE`")
    given = parameters(params)
    if asset is not None:
        given.setdefault("asset", asset)
    return replica.recipe(strategy, given, weights=assignments(weights, "--weight", "DIGEST=W"), **options)


def verify(
    ctx: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A checkpoint folder that `conjoin resolve` made.")],
    recompute: Annotated[bool, typer.Option("--recompute", help="Resolve again and compare every byte.")] = False,
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check a merged checkpoint: bytes, receipt and log.

    The bytes must be those of the receipt, and the receipt must follow from the log. The exit status is 0 when they do
    and 1 when something differs. A checkpoint of an earlier visible set is still valid; it is then said not to be
    current.
    """
    from conjoin.verification import verify as check

    shell = Shell.of(ctx, where, as_json, quiet)
    with shell.replica() as replica, shell.bar() as bar:
        found = check(out, replica, recompute=recompute, progress=bar)

    def human() -> list[Any]:
        from conjoin.apps.cli.render import count, short

        k = count(len(found.contributions), "contribution")
        lines = [
            f"verified: {out} is {found.strategy} over {k}, root {short(found.root)}",
            f"output {found.output}",
        ]
        if found.recomputed:
            lines.append("resolved again: the same bytes")
        if not found.current:
            lines.append("not current: other contributions are visible here now; resolve again to include them")
        return lines

    shell.tell(found, human=human)


def task(
    ctx: typer.Context,
    merged: Annotated[
        Path, typer.Argument(metavar="MERGED", help="A checkpoint folder that `conjoin resolve` made, by `emr` say.")
    ],
    contribution: Annotated[str, typer.Argument(metavar="DIGEST", help="The contribution whose model is wanted.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="The checkpoint folder to make; must not exist.")
    ],
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make one contribution's own model from a merged checkpoint.

    For strategies that write something beside the tensors for each contribution, such as the masks of `emr`. The base
    comes from the replica.
    """
    from conjoin.task_models import load_task

    shell = Shell.of(ctx, where, as_json, quiet)
    with shell.replica() as replica:
        model = load_task(merged, contribution, replica)
        model.save(out)
    told = {"contribution": model.contribution, "strategy": model.strategy, "out": str(out)}

    def human() -> list[Any]:
        from conjoin.apps.cli.render import count

        lines = [f"made {out}: the model of {model.contribution[:12]}, {count(len(model.tensors), 'tensor')}"]
        if model.adapter is not None:
            lines.append("its adapter for the features stays in the asset; `conjoin.load_task` gives it")
        return lines

    shell.tell(told, brief=str(out), human=human)


def strategies(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show this strategy in full.", autocompletion=_names_from)
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List the strategies, or show one in full.

    One strategy is shown with its formula, parameters, needs and source.
    """
    from conjoin.apps.cli import render
    from conjoin.strategies.base import find_strategy
    from conjoin.strategies.base import strategies as known

    shell = Shell.of(ctx, None, as_json, quiet)
    if name is not None:
        one = find_strategy(name)
        shell.tell(_described(one), brief=one.name, human=lambda: render.strategy(one))
        return
    every = known()
    shell.tell(
        [_described(one) for one in every.values()],
        brief="\n".join(every),
        human=lambda: render.strategies(every.values()),
    )


def _described(one: Any) -> dict[str, Any]:
    from conjoin.apps.cli.description import cost, examples, inputs, outputs
    from conjoin.apps.cli.render import default, domain

    return {
        "name": one.name,
        "summary": one.summary,
        "doc": one.doc,
        "needs": inputs(one),
        "makes_beside": outputs(one),
        "examples": examples(one),
        "cost": cost(one),
        "needs_base": one.needs_base,
        "stochastic": one.stochastic,
        "normalises": one.normalises,
        "scope": one.scope.value,
        "source": one.source,
        "version": one.version,
        "parameters": [
            {"name": p.name, "kind": p.kind, "values": domain(p), "default": default(p)} for p in one.parameters
        ],
    }
