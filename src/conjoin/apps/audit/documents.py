"""The audit as JSON, Markdown and a picture (SVG by hand, so that nothing has to be installed); prints nothing."""

import json
from html import escape
from pathlib import Path
from typing import Any

from conjoin.apps.audit.paper import LAYERED, PROPERTIES, REMARKS, ROWS, SOURCE, TOTALS
from conjoin.apps.audit.report import MISSING, Audit, Part, title_of, totals_of
from conjoin.apps.audit.shapes import SHAPES
from conjoin.apps.audit.telling import problems, sheets, verdict
from conjoin.apps.cli.render import size

FORMAT = "conjoin/audit/1"
NAMES = ("audit.json", "audit.md", "audit.svg")


def write(audit: Audit, folder: Path) -> tuple[Path, ...]:
    """Write the three documents into `folder`, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = json.dumps(to_json(audit), indent=2, ensure_ascii=False) + "\n", markdown(audit), picture(audit)
    paths = tuple(folder / name for name in NAMES)
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def to_json(audit: Audit) -> dict[str, Any]:
    """Everything, as JSON types; times in whole milliseconds, differences of numbers as text."""
    passed, tests = audit.layered_passed
    return {
        "format": FORMAT,
        "paper": SOURCE,
        "seed": audit.seed,
        "holds": audit.holds,
        "missing": list(audit.missing),
        "layered_passed": passed,
        "layered_tests": tests,
        "cpu_ms": round(audit.cpu_s * 1000),
        "peak_bytes": audit.peak_bytes,
        "shapes": {part.shapes: _part(part) for part in audit.parts},
        "differences": [_fields(one) for one in audit.differences()],
        "not_as_defined": [_fields(one) for one in audit.unexpected()],
        "settings": [
            {**_fields(one.setting), "params": dict(one.setting.params), "found": one.found.letters}
            for one in audit.settings
        ],
        "sweep": {
            name: {
                "digests": list(one.digests),
                "merges": one.merges,
                "gossip_cpu_ms": round(one.gossip_cpu_ms),
                "resolve_cpu_ms": round(one.resolve_cpu_ms),
                "paper_gossip_ms": str(ROWS[name].gossip_ms),
                "paper_resolve_ms": str(ROWS[name].resolve_ms),
            }
            for name, one in audit.sweep.items()
        },
        "made_for_strategies": dict(audit.rules),
        "problems": [f"{where}: {what}" for where, what in problems(audit)],
    }


def _part(part: Part) -> dict[str, Any]:
    ours, theirs = totals_of(part), TOTALS[part.shapes]
    return {
        "layers": {layer.name: list(layer.shape) for layer in SHAPES[part.shapes].layers},
        "totals": {"ours": [*ours.passing, ours.all_three], "paper": [*theirs.passing, theirs.all_three]},
        "strategies": {
            name: {
                "raw": raw.letters,
                "bits": raw.bitwise,
                "paper": ROWS[name].raw[part.shapes],
                "gaps": [f"{gap:.3g}" for gap in raw.gaps],
                "two_layers": part.layered[name].letters,
                "layers": list(raw.layers),
                "resolves": part.layered[name].resolves,
                "raw_cpu_ms": round(raw.cpu_s * 1000),
                "two_layers_cpu_ms": round(part.layered[name].cpu_s * 1000),
            }
            for name, raw in part.raw.items()
        },
    }


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def markdown(audit: Audit) -> str:
    """The tables as a document."""
    lines = [
        "# Audit",
        "",
        f"{verdict(audit)}.",
        "",
        f"Measured beside {SOURCE}. A word of letters is one strategy: P passes, F fails, in the order "
        f"{', '.join(PROPERTIES)}; in *two layers* a fourth one for {LAYERED[-1]}. *bits* asks for equal bits.",
        f"Seed {audit.seed}; {audit.cpu_s:,.0f} CPU-seconds; at most {size(audit.peak_bytes)} of memory.",
        "",
        "![the same as a picture](audit.svg)",
    ]
    for sheet in sheets(audit):
        lines += ["", f"## {sheet.title[:1].upper()}{sheet.title[1:]}", "", _row(sheet.columns)]
        lines.append(_row(["---:" if name in sheet.right else "---" for name in sheet.columns]))
        lines += [_row(row) for row in sheet.rows]
    if audit.rules:
        lines += ["", "## What was made for strategies that need more than tensors", ""]
        lines += ["All of it follows from the digest of the tensor's content; nothing was trained.", ""]
        lines += [f"- `{name}`: {note}" for name, note in audit.rules.items()]
    lines += ["", "## About the paper's tables", "", *(f"- {remark}" for remark in REMARKS)]
    found = list(problems(audit))
    if found:
        lines += ["", "## Errors", "", *(f"- {where}: {' '.join(what.split())}" for where, what in found)]
    return "\n".join(lines) + "\n"


def _row(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


_CELL, _NAME, _HEAD, _GAP = 22, 190, 74, 14
_LINE = 16
_LEGEND = ", ".join(f"{letter} {word}" for letter, word in zip("CAIV", LAYERED, strict=True))
_FILL = {"P": "#cfe8d5", "F": "#f3d2cf", "": "#ffffff"}
_STYLE = (
    "text{font:12px sans-serif;fill:#222}.letter{text-anchor:middle}.title{font-weight:bold}.small{font-size:11px}"
    ".differs{stroke:#222;stroke-width:2}.same{stroke:#fff;stroke-width:1}"
)


def picture(audit: Audit) -> str:
    """The letters as a grid: per shapes ours, the paper's and the two layers; cells that differ have a frame."""
    blocks = [(part, _NAME + at * (_CELL * 10 + 3 * _GAP)) for at, part in enumerate(audit.parts)]
    width = _NAME + len(blocks) * (_CELL * 10 + 3 * _GAP)
    foot = [*verdict(audit).split("; "), "P passes, F fails; a frame marks what differs", _LEGEND]
    bottom = _HEAD + _CELL * len(audit.strategies) + 24
    height = bottom + _LINE * len(foot)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for at, name in enumerate(audit.strategies):
        drawn.append(_text(8, _HEAD + at * _CELL + 15, name))
    for part, left in blocks:
        drawn += _heads(part, left)
        for at, name in enumerate(audit.strategies):
            drawn += _cells(part, name, left, _HEAD + at * _CELL)
    drawn += [_text(8, bottom + at * _LINE, line, "small") for at, line in enumerate(foot)]
    return "\n".join([*drawn, "</svg>"]) + "\n"


def _heads(part: Part, left: int) -> list[str]:
    drawn = [_text(left, 20, title_of(part), "title")]
    for index, (head, letters) in enumerate((("raw, ours", "CAI"), ("raw, paper", "CAI"), ("two layers", "CAIV"))):
        x = left + index * (3 * _CELL + _GAP)
        drawn.append(_text(x, 42, head, "small"))
        drawn += [_text(x + at * _CELL + _CELL // 2, 62, letter, "letter") for at, letter in enumerate(letters)]
    return drawn


def _cells(part: Part, name: str, left: int, top: int) -> list[str]:
    printed = ROWS[name].raw[part.shapes]
    if name not in part.raw:
        return [_text(left, top + 15, MISSING, "title")]
    ours, two = part.raw[name].letters, part.layered[name].letters
    drawn: list[str] = []
    for index, word in enumerate((ours, printed, two)):
        for at, letter in enumerate(word):
            differs = index < 2 and ours and ours[at] != printed[at]
            x = left + index * (3 * _CELL + _GAP) + at * _CELL
            kind = "differs" if differs else "same"
            box = f'<rect class="{kind}" x="{x + 1}" y="{top + 1}" width="{_CELL - 2}" height="{_CELL - 2}"'
            drawn.append(f'{box} fill="{_FILL[letter]}"/>')
            drawn.append(_text(x + _CELL // 2, top + 15, letter, "letter"))
    return drawn


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{mark}>{escape(text)}</text>'
