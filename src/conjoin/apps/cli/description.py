"""What the traits of a strategy say in words: inputs, outputs, examples, cost; page and command show the same."""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from conjoin.fitting.fitters import FITTERS
from conjoin.strategies.base import Parameter, Strategy

SCOPES = {
    "elementwise": "elementwise: one reading, a slice at a time",
    "two-pass": "measured, then applied: several readings, a slice at a time",
    "matrix": "a whole matrix at a time; dimensions after the first are taken together",
    "model": "the whole model at once",
}


def settings(one: Strategy) -> list[dict[str, Any]]:
    """The default parameters, then every choice and flag by itself."""
    plain = one.parse({})
    single = [
        {**plain, p.name: value}
        for p in one.parameters
        for value in (p.choices if p.kind == "choice" else (True, False) if p.kind == "flag" else ())
    ]
    return [plain, *single]


def inputs(one: Strategy) -> list[str]:
    """What it needs besides the contributions' tensors, one line each."""
    found = [_base(one)]
    by_default = {side.extra for side in one.side_cars(one.parse({}))}
    for extra in dict.fromkeys(side.extra for given in settings(one) for side in one.side_cars(given)):
        when = "of every contribution" if extra in by_default else "of every contribution, with some parameters"
        found.append(f"side-car `{extra}` {when}; `conjoin stats {extra}` makes it")
    if one.needs_asset(one.parse({})):
        found.append(f"an asset for just these contributions; `conjoin fit {one.name}` makes it")
    for role in roles(one):
        found.append(f"`{role.name}` by contribution: {', '.join(role.choices)}")
    return found


def _base(one: Strategy) -> str:
    if one.needs_base:
        return "a base"
    return "a base, with some parameters" if any(one.reads_base(given) for given in settings(one)) else "no base"


def outputs(one: Strategy) -> list[str]:
    """What it makes beside the tensors, one line each."""
    found = [
        f"`{side.name}` of every tensor and contribution, {'a bit per element' if side.is_mask else 'one number'}"
        for side in one.side_tensors(one.parse({}))
    ]
    if one.one_task is not None:
        found.append("each contribution's own model by `conjoin task` and `conjoin.load_task`")
    return found


def roles(one: Strategy) -> list[Parameter]:
    """The parameters that give contributions a role."""
    return [p for p in one.parameters if p.kind == "by-contribution" and set(p.choices) - {"true", "false"}]


def examples(one: Strategy) -> list[str]:
    """Commands that lead to a merged checkpoint."""
    lines: list[str] = []
    words = ["conjoin resolve", one.name]
    for extra in dict.fromkeys(side.extra for side in one.side_cars(one.parse({}))):
        base = " --base base/" if extra == "importance" else ""
        lines.append(f"conjoin stats {extra} my-tune/ --data task.jsonl{base} -o {extra}.safetensors")
        lines.append(f"conjoin add my-tune/ --extra {extra}={extra}.safetensors")
    if one.needs_asset(one.parse({})) and one.name in FITTERS:
        how = (
            "--evaluator 'python eval.py {}'"
            if "evaluator" in FITTERS[one.name].required
            else "--data 7f3a91c2=a.jsonl"
        )
        lines.append(f"conjoin fit {one.name} {how} -o asset.json")
        words.append("--asset asset.json")
    for role in roles(one):
        words += [
            f"-p {role.name}.{digest}={choice}" for digest, choice in zip(_DIGESTS, role.choices[1:], strict=False)
        ]
    words += [f"-p {p.name}={_plain(p)}" for p in one.parameters if p.kind == "number"][:1]
    return [*lines, " ".join([*words, "-o merged/"])]


_DIGESTS = ("7f3a91c2", "02be44d0", "5c1d08e9")


def _plain(parameter: Parameter) -> str:
    from conjoin.strategies.base import canonical_decimal

    return canonical_decimal(parameter.default)


@cache
def costs() -> dict[str, Sequence[float]]:
    """Per strategy what `make bench` measured: ns of CPU per parameter, peak memory in MB; empty where it never ran."""
    file = files("conjoin.apps.cli") / "costs.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def cost(one: Strategy) -> str:
    """What it cost when it was measured."""
    if one.name not in costs():
        return "not measured"
    ns, memory = costs()[one.name]
    return f"{ns:.3g} ns of CPU per parameter, {memory:.0f} MB at most (16 M parameters in BF16, base + 3)"


def facts(one: Strategy) -> list[tuple[str, str]]:
    """Everything but formula and parameters, as names and texts."""
    return [
        ("needs", "; ".join(inputs(one))),
        *([("makes beside", "; ".join(outputs(one)))] if outputs(one) else []),
        ("draws", "yes, seeded by the root" if one.stochastic else "no"),
        ("scope", SCOPES[one.scope.value]),
        ("cost", cost(one)),
        ("version", str(one.version)),
        ("source", one.source),
    ]


def needs_briefly(one: Strategy) -> str:
    """What it needs with its default parameters, in a few words."""
    given = one.parse({})
    words = ["base"] if one.needs_base or one.reads_base(given) else []
    words += dict.fromkeys(side.extra for side in one.side_cars(given))
    words += ["asset"] if one.needs_asset(given) else []
    words += ["roles"] if roles(one) else []
    return ", ".join(words) or "–"
