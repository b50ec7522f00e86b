"""Writes what was found: JSON, a table and the verdicts as Markdown, a plot."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean

from benchmarks.quality.methods import METHODS, Method
from benchmarks.quality.orderings import Verdict, judge
from benchmarks.quality.run import Found

REFERENCES = {
    "base": "base, without fine-tuning",
    "individual": "each fine-tune on its own task",
    "multitask": "one encoder trained on all tasks",
}


def write(found: Sequence[Found], folder: Path, facts: Mapping[str, object]) -> list[Path]:
    """All files; their paths."""
    verdicts = judge([one.scores for one in found])
    text = folder / "results.md"
    text.write_text(markdown(found, verdicts, facts))
    document = {
        **facts,
        "seeds": [asdict(one) for one in found],
        "orderings": [{**asdict(one), "claim": one.ordering.text, "verdict": one.word} for one in verdicts],
    }
    numbers = folder / "results.json"
    numbers.write_text(json.dumps(document, indent=1, ensure_ascii=False))
    return [text, numbers, *plot(found, folder / "quality.png")]


def markdown(found: Sequence[Found], verdicts: Sequence[Verdict], facts: Mapping[str, object]) -> str:
    """The tables."""
    seeds = ", ".join(str(one.seed) for one in found)
    lines = [
        "# Quality: eight small tasks, one merged encoder",
        "",
        f"Mean test accuracy (%) over 8 tasks, mean over seeds {seeds} (smallest and largest). `tuned`: the scale is "
        "chosen on validation examples; Δ: tuned (where there is nothing to tune, default) against task arithmetic "
        f"tuned, paired by seed. {', '.join(f'{name}: {value}' for name, value in facts.items())}.",
        "",
        "| method | takes | default | tuned | scale | Δ | base → individual | fit, CPU s | merge, CPU ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, title in REFERENCES.items():
        lines.append(f"| *{title}* | | {_spread([mean(one.references[name]) for one in found])} | | | | | | |")
    for method in METHODS:
        rows = [one.rows[method.name] for one in found]
        tuned = [mean(row.tuned) for row in rows if row.tuned]
        scales = ", ".join(f"{row.scale:g}" for row in rows if row.scale is not None)
        deltas = [row.best - one.rows["task_arithmetic"].best for row, one in zip(rows, found, strict=True)]
        way = [_way(one, row.best) for row, one in zip(rows, found, strict=True)]
        lines.append(
            f"| {method.name} | {_takes(method)} | {_spread([mean(row.default) for row in rows])} "
            f"| {_spread(tuned) if tuned else '–'} | {scales or '–'} | {min(deltas):+.1f} … {max(deltas):+.1f} "
            f"| {mean(way):.0f} % | {mean(row.fit_s for row in rows):.0f} "
            f"| {1000 * mean(row.merge_s for row in rows):.0f} |"
        )
    lines += ["", *_roles(found), "", *_per_task(found), "", *_verdicts(verdicts), "", *_bytes(found), ""]
    return "\n".join(lines)


def _takes(method: Method) -> str:
    """What it needs beside weights, and whether the result is one model."""
    return f"{method.needs}; a model per task" if method.by_task else method.needs


def _way(one: Found, value: float) -> float:
    base, top = mean(one.references["base"]), mean(one.references["individual"])
    return 100 * (value - base) / (top - base)


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{mean(values):.1f} ({min(values):.1f} … {max(values):.1f})"


def _roles(found: Sequence[Found]) -> list[str]:
    """Forgetting and safety."""
    names = [name.removeprefix("forget ") for name in found[0].roles if name.startswith("forget ")]
    lines = [
        "## Strategies with roles",
        "",
        "Forgetting the last task (lower is better) while the others keep 95 % of what the base can, by validation:",
        "",
        "| method | scale | on the task to forget | on the seven others |",
        "|---|---|---|---|",
    ]
    for name in names:
        scales = ", ".join(f"{one.roles[f'scale {name}']:g}" for one in found if f"scale {name}" in one.roles)
        forgotten, kept = ([one.roles[f"{what} {name}"] for one in found] for what in ("forget", "kept"))
        lines.append(f"| {name} | {scales or '–'} | {_spread(forgotten)} | {_spread(kept)} |")
    lines += [
        "",
        "Staying safe: one task stands for safety, four others are tuned from the model aligned to it:",
        "",
        "| model | safety | utility |",
        "|---|---|---|",
    ]
    for name in [name.removeprefix("safety ") for name in found[0].roles if name.startswith("safety ")]:
        safety, utility = ([one.roles[f"{what} {name}"] for one in found] for what in ("safety", "utility"))
        lines.append(f"| {name} | {_spread(safety)} | {_spread(utility)} |")
    return lines


def _per_task(found: Sequence[Found]) -> list[str]:
    """The first seed, task by task."""
    one = found[0]
    lines = [
        f"## Task by task, seed {one.seed}",
        "",
        "| method | " + " | ".join(f"task {number}" for number in range(len(one.references["base"]))) + " |",
        "|---" * (1 + len(one.references["base"])) + "|",
    ]
    rows = {name: values for name, values in one.references.items()} | {
        name: row.tuned or row.default for name, row in one.rows.items()
    }
    return [*lines, *(f"| {name} | " + " | ".join(f"{v:.1f}" for v in values) + " |" for name, values in rows.items())]


def _verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    """Orderings known from the literature."""
    met = sum(all(one.met) for one in verdicts)
    lines = [
        "## Orderings known from the literature: met or not met",
        "",
        f"{met} of {len(verdicts)} hold on every seed. Tuned where a method has a scale; differences are paired by "
        "seed.",
        "",
        "| claim | differences by seed | found | where it is from |",
        "|---|---|---|---|",
    ]
    for one in verdicts:
        differences = ", ".join(f"{difference:+.1f}" for difference in one.differences)
        word = one.word if all(one.met) else f"**{one.word}**"
        lines.append(f"| {one.ordering.text} | {differences} | {word} | {one.ordering.source} |")
    return lines


def _bytes(found: Sequence[Found]) -> list[str]:
    names = found[0].same
    said = [f"{name}: {'same' if all(one.same[name] for one in found) else 'DIFFERENT'}" for name in names]
    return ["## Bytes", "", f"Through a replica on disk and by one call in memory, every seed: {', '.join(said)}."]


def plot(found: Sequence[Found], path: Path) -> list[Path]:
    """A bar per method from the base to its accuracy, with a dot per seed; nothing without matplotlib."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        print("no plot: matplotlib is not installed (pip install 'conjoin[bench]')")
        return []
    mpl.use("Agg")
    from matplotlib import pyplot

    means = {method.name: mean(one.rows[method.name].best for one in found) for method in METHODS}
    order = sorted(means, key=means.__getitem__)
    defaults = {name: mean(mean(one.rows[name].default) for one in found) for name in order}
    figure, axes = pyplot.subplots(figsize=(9, 0.27 * len(order) + 1.6), layout="constrained")
    colours = {"–": "#4477aa", "inputs": "#cc6677", "validation labels": "#aa7744"}
    methods = {method.name: method for method in METHODS}
    low = min(*defaults.values(), *(mean(one.references["base"]) for one in found)) - 3
    for place, name in enumerate(order):
        colour, hatch = colours.get(methods[name].needs, "#ddaa33"), "//" if methods[name].by_task else None
        axes.barh(place, means[name] - low, left=low, color=colour, alpha=0.55, hatch=hatch)
        axes.plot([one.rows[name].best for one in found], [place] * len(found), "k.", markersize=4)
        axes.plot(defaults[name], place, "|", color="black", markersize=9)
    for name, style in zip(REFERENCES, (":", "-", "--"), strict=True):
        value = mean(mean(one.references[name]) for one in found)
        axes.axvline(value, color="black", linestyle=style, linewidth=1, label=f"{name} {value:.1f}")
    axes.set_yticks(range(len(order)), order, fontsize=8)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlim(left=low)
    axes.set_xlabel("mean test accuracy on 8 tasks, % (bar: tuned; dots: seeds; stroke: default scale)")
    axes.set_title(
        "blue: weights alone · yellow: side-cars · red: unlabelled inputs\n"
        "brown: validation labels · hatched: a model per task",
        fontsize=9,
    )
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return [path]
