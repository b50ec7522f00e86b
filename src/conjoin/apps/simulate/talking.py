"""Replicas that sync by the product's own sessions, with nothing that fails: what epidemics and a part of Table 9 are.

They are the simulator's, over a network that loses nothing: each verifies every operation itself, and keeps what it
takes on a disk of its own in memory. What they tell each other is small: contributions without tensors.
"""

from collections.abc import Sequence
from random import Random

from conjoin.log import Genesis, Policy, genesis_payload, parse
from conjoin.store.memory import MemoryStore
from conjoin.testing.simulator.content import keep
from conjoin.testing.simulator.keys import Signer
from conjoin.testing.simulator.network import CALM, Network
from conjoin.testing.simulator.node import Node
from conjoin.wire.contribution import Contribution


def founded(count: int, network: Network, chance: Random) -> list[Node]:
    """The replicas of a new open space, whose base has no tensors."""
    founder = Signer("replica 0")
    nothing = keep(MemoryStore(), None)
    body = Genesis(nothing, nothing, "00" * 16, "simulated", Policy(open=True))
    genesis = parse(founder.seal(genesis_payload(founder.key, body)))
    replicas = [Node(f"replica {number}", genesis, network, chance, hashed=False) for number in range(count)]
    for replica in replicas:
        keep(replica.disk, None)
    return replicas


def contribute(replicas: Sequence[Node]) -> None:
    """Let each add a contribution that differs from the others' in its weight."""
    for number, replica in enumerate(replicas, 1):
        offered = Contribution(replica.log.genesis.base, replica.log.genesis.base, str(number))
        body = {"contribution": offered.to_json(), "license": "", "time": replica.time, "title": replica.name}
        assert replica.write("add", body), "a replica of an open space with room may add"


def talked(count: int, order: Sequence[tuple[int, int]], seed: int) -> list[Node]:
    """Replicas with a contribution each that have synced one after the other, in this order of (asking, asked)."""
    chance = Random(seed)
    network = Network(chance, CALM)
    replicas = founded(count, network, chance)
    contribute(replicas)
    for asking, asked in order:
        replicas[asking].sync_with(replicas[asked])
        network.run()
    return replicas
