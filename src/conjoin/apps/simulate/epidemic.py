"""Epidemics: push-pull gossip among up to 10,000 replicas, each a log, a disk and real sessions; judges little."""

import math
import time
from dataclasses import dataclass
from random import Random

from conjoin.apps.simulate.report import Plot, Result, Sheet
from conjoin.apps.simulate.talking import contribute, founded
from conjoin.log import views
from conjoin.progress import SILENT, Progress
from conjoin.testing.simulator.network import CALM, Network

AUTHORS = 8
"""Replicas that begin with a contribution of their own."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How far news went.

    Attributes:
        replicas: that took part.
        rounds: until all had all operations.
        messages: frames that arrived, answers among them.
        size_bytes: of those frames.
        roots: different ones in the end.
        cpu_s: CPU seconds of the rounds.
    """

    replicas: int
    rounds: int
    messages: int
    size_bytes: int
    roots: int
    cpu_s: float


def epidemic(seed: int, size: int | None = None, progress: Progress = SILENT) -> Result:
    """Push-pull gossip in growing networks up to `size` replicas."""
    largest = size or 10_000
    counts = [*(count for count in (10, 100, 1_000, 10_000) if count < largest), largest]
    progress.start("epidemic: replicas", sum(counts))
    spreads: list[Spread] = []
    for count in counts:
        spreads.append(spread(count, seed))
        progress.advance(count)
    rows = tuple(
        (
            f"{one.replicas:,}",
            str(one.rounds),
            f"{math.log2(one.replicas):.1f}",
            f"{one.messages:,}",
            f"{one.messages / one.replicas:.1f}",
            f"{one.size_bytes / one.replicas:,.0f}",
            str(one.roots),
            f"{one.cpu_s:.1f} s",
        )
        for one in spreads
    )
    columns = ("replicas", "rounds", "log2 n", "messages", "a replica", "bytes a replica", "roots", "CPU")
    plot = Plot(
        "rounds until all know all",
        "log2 of replicas",
        "rounds",
        tuple((math.log2(s.replicas), s.rounds) for s in spreads),
    )
    holds = all(one.roots == 1 and one.rounds <= 4 * math.log2(one.replicas) + 4 for one in spreads)
    facts = {"largest_network": largest, "operations": AUTHORS}
    notes = ("a round is one session of every replica with a random other one, in turn; messages are frames both ways",)
    return Result("epidemic", holds, facts, (Sheet("Push-pull gossip", columns, rows),), notes, plot)


def spread(count: int, seed: int) -> Spread:
    """Every round each replica syncs with a random other one, until all have every operation."""
    chance = Random(seed)
    network = Network(chance, CALM)
    replicas = founded(count, network, chance)
    contribute(replicas[:AUTHORS])
    every = 1 + min(AUTHORS, count)
    rounds = 0
    began = time.process_time()
    while any(len(replica.log) < every for replica in replicas):
        rounds += 1
        for here, replica in enumerate(replicas):
            there = chance.randrange(count - 1)
            replica.sync_with(replicas[there + (there >= here)])
            network.run()
    cpu_s = time.process_time() - began
    roots = len({views.root(replica.log) for replica in replicas})
    return Spread(count, rounds, network.messages, network.arrived_bytes, roots, cpu_s)
