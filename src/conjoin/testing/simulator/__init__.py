"""A seeded network of replicas that fail and lie, driving the product's own log, session, host, visit and driver.

Read in this order: `keys`, `disk`, `network`, `place`, `content`, `visiting`, `node`, `liar`, `world`, `checks`.
"""

from conjoin.testing.simulator.keys import shortcuts
from conjoin.testing.simulator.world import Run, Settings, World, simulate

__all__ = ["Run", "Settings", "World", "shortcuts", "simulate"]
