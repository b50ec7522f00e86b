"""`conjoin simulate`: many seeds of the hostile network, and the paper's Tier 3 over real messages; prints nothing."""

from conjoin.apps.simulate.epidemic import Spread, epidemic
from conjoin.apps.simulate.hostile import Hostile, hostile
from conjoin.apps.simulate.operations import operations
from conjoin.apps.simulate.report import Result, Sheet
from conjoin.apps.simulate.tier3 import table6, table7, table8, table9

SCENARIOS = {
    "table6": table6,
    "table7": table7,
    "table8": table8,
    "table9": table9,
    "epidemic": epidemic,
    "operations": operations,
}
"""What `--scenario` names; each takes a seed, the size asked for (or None) and a progress."""

__all__ = [
    "SCENARIOS",
    "Hostile",
    "Result",
    "Sheet",
    "Spread",
    "epidemic",
    "hostile",
    "operations",
    "table6",
    "table7",
    "table8",
    "table9",
]
