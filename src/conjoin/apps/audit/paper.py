"""The paper's tables as data, to stand beside what is measured; measures nothing.

Gillespie, "Conflict-Free Replicated Data Types for Neural Network Model Merging", arXiv:2605.19373v1 (16 May 2026).
Letters are P (pass) and F (fail) for commutativity, associativity and idempotency, in this order, as printed there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SOURCE = "arXiv:2605.19373v1"

PROPERTIES = ("commutative", "associative", "idempotent")
"""The columns of Tables 1 and 3; a row is a word of three letters."""
LAYERED = (*PROPERTIES, "convergent")
"""The columns of Table 4: the same, and three replicas over all six orders."""

TOLERANCE = 1e-5
"""The paper's atol, in both tiers."""

_TABLE = """
ada_merging             PFP PPP PPP     0.6    200
adarank                 PFF PFF PFF     0.6    102
dam                     PFP PFP PFP     0.7    112
dare                    FFF FFF FFF     0.6     80
dare_ties               FFF FFF FFF     1.0     79
della                   FFF FFF FFF     0.8    122
dual_projection         PFP PFP PFP     0.6     26
emr                     PFF PFF PFF     0.6     22
evolutionary_merge      FFF FFF FFF     0.7  86400
fisher_merge            PFP PFP PFP     0.6      7
genetic_merge           PFP PFP PPP     0.5  87960
led_merge               PFP PPP PPP     0.6    143
linear                  PFP PFP PFP     0.7     11
model_breadcrumbs       PFF PFF PFF     0.6     22
negative_merge          PFF PFF PFF     0.7      8
regression_mean         PFP PFP PFP     0.7      8
representation_surgery  PFP PFP PFP     0.7      9
safe_merge              PFP PFP PFP     0.6     29
slerp                   PFP PFP PFP     0.6     14
split_unlearn_merge     PFF PFF PFF     0.6     43
star                    PFF PFF PFF     0.8    101
svd_knot_tying          FFP FFP FFP     0.8    154
task_arithmetic         PPF PPF PPF     0.7      8
ties                    PFF PFF PFF     0.6     29
weight_average          PFP PFP PFP     0.7      8
weight_scope_alignment  PFP PFP PFP     0.7     18
"""
"""Name; Table 3 (4×4); Table 1 for GPT-2-XL and for Mistral-7B; Table 8: gossip and resolve in ms, 10 nodes of 64×64.

Tables 1 and 3 write "repr. surgery" and "weight scope align.", Table 8 "wt_scope_alignment".
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What the paper prints about one strategy; `raw` is by the name of the shapes."""

    raw: Mapping[str, str]
    gossip_ms: float
    resolve_ms: float


@dataclass(frozen=True, slots=True)
class Totals:
    """Strategies that pass: each property, and all three."""

    passing: tuple[int, int, int]
    all_three: int


def _rows() -> Mapping[str, Row]:
    rows: dict[str, Row] = {}
    for line in _TABLE.split("\n"):
        if line:
            name, controlled, gpt, mistral, gossip, resolve = line.split()
            raw = {"4x4": controlled, "gpt2-xl": gpt, "mistral-7b": mistral}
            rows[name] = Row(MappingProxyType(raw), float(gossip), float(resolve))
    return MappingProxyType(rows)


ROWS = _rows()
"""By strategy, ascending: the paper's 26."""

TABLE_OF = {"4x4": "Table 3", "gpt2-xl": "Table 1", "mistral-7b": "Table 1"}
"""Where the letters for some shapes are printed."""
TOTALS = {
    "4x4": Totals((21, 1, 14), 0),
    "gpt2-xl": Totals((21, 3, 14), 2),
    "mistral-7b": Totals((21, 4, 14), 3),
}
"""The totals as printed in Tables 1, 2 and 3."""
LAYERS = {"gpt2-xl": 193, "mistral-7b": 224}
"""Eligible 2-D layers, Table 2. 48·4 + 1 and 32·7: which embedding is the one of GPT-2-XL is not said."""
LAYER_CHECKS = 43_368
"""Layer-level checks, section 6.2.4: strategies × properties of Table 4 × layers, both models."""
SLICE = 128
"""Side of the slice that stood for every layer of a shape in the paper (section 6.2.2)."""
SWEEP_REPLICAS, SWEEP_SIDE = 10, 64
"""Table 8."""

REMARKS = (
    "Table 8's caption says that all but two strategies resolve in under 200 ms; ada_merging takes 200 ms there.",
    "Table 8 does not say whether a time is that of one node or of all ten; here it is that of all ten.",
    "Section 6.2.4 names 6144×1600 as the largest weight of Mistral-7B; no matrix of either model has 6144 rows.",
    "Table 2 counts 193 layers of GPT-2-XL, which are 48·4 + 1; it has two embeddings, and the one is not named.",
    "Tables 1 and 3 have genetic_merge commutative and idempotent; Appendix F says that it fails all three.",
    "Phase 1 was run on slices of 128×128 that stood for whole layers; here it runs on whole layers.",
)
"""Where the paper contradicts itself or leaves a question that bears on the comparison."""


def totals(letters: Mapping[str, str]) -> Totals:
    """Count the passes of some rows."""
    rows = list(letters.values())
    commutative, associative, idempotent = (sum(row[at] == "P" for row in rows) for at in range(len(PROPERTIES)))
    return Totals((commutative, associative, idempotent), rows.count("PPP"))
