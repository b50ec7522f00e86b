"""The cross-strategy sweep of the paper's Table 8: ten replicas, everyone to everyone in a random order, one digest."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from conjoin import kernels
from conjoin.apps.audit.outfit import Outfit, Replica
from conjoin.apps.audit.paper import SWEEP_REPLICAS, SWEEP_SIDE
from conjoin.apps.audit.phases import digest_of
from conjoin.apps.audit.raw import Operand
from conjoin.apps.audit.shapes import Layer
from conjoin.apps.audit.tensors import Family, family
from conjoin.errors import ConjoinError
from conjoin.strategies.base import Strategy

LAYER = Layer("w", (SWEEP_SIDE, SWEEP_SIDE), 1)


@dataclass(frozen=True, slots=True)
class Swept:
    """What the sweep found about one strategy.

    Attributes:
        digests: the different digests of what the replicas resolved to; one, if they converged.
        merges: joins of two replicas.
        gossip_cpu_ms: processor time of all of them.
        resolve_cpu_ms: processor time of the resolves of all replicas together.
        problem: the error that ended it, None where there was none.
    """

    digests: tuple[str, ...]
    merges: int
    gossip_cpu_ms: float
    resolve_cpu_ms: float
    problem: str | None = None

    @property
    def converges(self) -> bool:
        """Whether all replicas resolved to one digest."""
        return len(self.digests) == 1 and self.problem is None


def swept_models(seed: int) -> Family:
    """Ten fine-tunes of one 64×64 tensor."""
    return family(LAYER, "float64", values="float64", seed=seed, count=SWEEP_REPLICAS)


def sweep(strategy: Strategy, models: Family, seed: int) -> Swept:
    """Every replica adds one model, sends its state to every other one, all in a random order, and resolves."""
    try:
        outfit = Outfit.of(strategy, Operand.of(models.base), models.layer, {})
        operands = [Operand.of(model) for model in models.models]
        replicas = [Replica.with_model(outfit, f"{at}", operand) for at, operand in enumerate(operands)]
        order = gossip_order(len(replicas), seed)
        began = time.process_time()
        for sender, receiver in order:
            replicas[receiver].receive(replicas[sender])
        gossip_s, began = time.process_time() - began, time.process_time()
        found = [replica.resolve() for replica in replicas]
        resolve_s = time.process_time() - began
    except ConjoinError as error:
        return Swept((), 0, 0.0, 0.0, str(error))
    digests = tuple(sorted({digest_of(array) for array in found}))
    return Swept(digests, len(order), gossip_s * 1000, resolve_s * 1000)


def gossip_order(count: int, seed: int) -> Sequence[tuple[int, int]]:
    """Every ordered pair of different replicas once, shuffled by named draws."""
    pairs = [(sender, receiver) for sender in range(count) for receiver in range(count) if sender != receiver]
    key = kernels.draw_key(seed.to_bytes(32, "little"), "audit", "gossip", "0" * 64)
    words = kernels.draws(key, 0, len(pairs)).tolist()
    return [pair for _, pair in sorted(zip(words, pairs, strict=True))]
