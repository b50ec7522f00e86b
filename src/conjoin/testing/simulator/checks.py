"""What must hold when a run is over; every check says in a sentence what does not."""

from collections.abc import Iterator, Sequence
from random import Random

from conjoin import memory
from conjoin.errors import ConjoinError
from conjoin.log import Log, views
from conjoin.store.base import check_object
from conjoin.sync.pulling import needed_content
from conjoin.sync.reconcile import Comparison
from conjoin.testing.simulator.content import complete, model
from conjoin.testing.simulator.node import Node
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import leaf_name, parse_manifest

STRATEGIES = ("ties", "dare", "weight_average")
"""By which of them the replicas resolve in the end, the seed says."""
GEOMETRIC = "slerp"
GEOMETRIC_EVERY = 30
"""Of so many seeds one resolves by a mean on the sphere, which takes longer than the whole run."""
NONCE = "0" * 32
"""Under which replicas say what they hold, so that it can be compared."""


def violations(honest: Sequence[Node], keys: set[str], *, resolve_with: str) -> list[str]:
    """What does not hold among honest replicas that have heard of everything.

    Args:
        honest: those replicas.
        keys: all that exist in this world.
        resolve_with: a strategy by which every replica merges what it sees.
    """
    found: list[str] = []
    for check in (_equal, _kept, _sound, _noticed, _complaints):
        found += check(honest)
    found += _real(honest, keys)
    if not found:
        found += _equal_bytes(honest, resolve_with)
    return found


def strategy_of(seed: int) -> str:
    """The strategy by which the replicas of a run resolve."""
    return GEOMETRIC if seed % GEOMETRIC_EVERY == 1 else STRATEGIES[seed % len(STRATEGIES)]


def _equal(honest: Sequence[Node]) -> Iterator[str]:
    """Equal operations, equal root, equal hello, equal content."""
    first = honest[0]
    hello = Comparison(first.log, NONCE).opening()
    ids = {operation.id for operation in first.log.operations()}
    for node in honest[1:]:
        others = {operation.id for operation in node.log.operations()}
        if others != ids:
            yield f"{node.name} lacks {len(ids - others)} operations of {first.name} and has {len(others - ids)} more"
        elif views.root(node.log) != views.root(first.log):
            yield f"{node.name} and {first.name} have equal operations and unequal roots"
        elif Comparison(node.log, NONCE).opening() != hello:
            yield f"{node.name} and {first.name} have equal operations and say that they hold different ones"
    needed = needed_content(first.log)
    had = {content for content in needed if any(complete(node.disk, content) for node in honest)}
    for node in honest:
        lacking = sum(not complete(node.disk, content) for content in had)
        if lacking:
            yield f"{node.name} lacks {lacking} contents that another honest replica has"


def _kept(honest: Sequence[Node]) -> Iterator[str]:
    """Whatever was acknowledged is here, and everybody has it."""
    for owner in honest:
        for node in honest:
            lost = sum(not node.log.has(operation) for operation in owner.acknowledged)
            if lost:
                yield f"{node.name} lacks {lost} operations that {owner.name} acknowledged"


def _sound(honest: Sequence[Node]) -> Iterator[str]:
    """Every object is what its name says, manifests came after their leaves, the disk holds what the log holds."""
    for node in honest:
        wrong = 0
        for name in node.disk.written:
            try:
                check_object(name, node.disk.get(name))
            except ConjoinError:
                wrong += 1
        if wrong:
            yield f"{node.name} keeps {wrong} objects that are not what their names say"
            continue
        yield from _whole(node)
        undurable = len({operation.id for operation in node.log.operations()} - node.stored())
        if undurable:
            yield f"{undurable} operations in the log of {node.name} are not on its disk"


def _whole(node: Node) -> Iterator[str]:
    place = {name: at for at, name in enumerate(node.disk.written)}
    for name in node.disk.written:
        digest = parse_manifest(name)
        if digest is not None:
            leaves = [leaf_name(leaf) for leaf in Manifest.decode(node.disk.get(name), digest).leaf_lengths()]
            if any(place.get(leaf, len(place)) > place[name] for leaf in leaves):
                yield f"{node.name} kept manifest {digest[:12]} before its leaves"


def _noticed(honest: Sequence[Node]) -> Iterator[str]:
    """No honest key signs two histories, unless its disk was restored; then its replica has noticed."""
    forked = {fork.author for fork in views.forks(honest[0].log)}
    for node in honest:
        if not node.restored and (forked & set(node.keys) or node.key_used_elsewhere):
            yield f"the key of {node.name}, which was never restored, signs two histories"
        if node.restored and node.signer.key in forked and not node.key_used_elsewhere:
            yield f"{node.name} was restored, forked its log and has not noticed"


def _complaints(honest: Sequence[Node]) -> Iterator[str]:
    for node in honest:
        yield from (f"{node.name}: {complaint}" for complaint in node.complaints)


def _equal_bytes(honest: Sequence[Node], strategy: str) -> Iterator[str]:
    """Every replica resolves what it sees and has, from its own disk and in an order of its own, to the same bytes."""
    outputs: set[bytes] = set()
    for number, node in enumerate(honest):
        contents = [
            view.contribution.weights
            for view in views.contributions(node.log).values()
            if view.visible and complete(node.disk, view.contribution.weights)
        ]
        if not contents:
            return
        models = [model(node.disk, content) for content in dict.fromkeys(contents)]
        Random(number).shuffle(models)
        base = model(node.disk, node.log.genesis.base)
        merged = memory.resolve(models, strategy, base=base, seed=node.log.space)
        outputs.add(b"".join(merged[name].tobytes() for name in sorted(merged)))
    if len(outputs) > 1:
        yield f"{strategy} gives {len(outputs)} different outputs from the same visible set"


def _real(honest: Sequence[Node], keys: set[str]) -> Iterator[str]:
    """An independent log that hears the same operations in another order admits the same ones and no others."""
    operations = list(honest[0].log.operations())
    strangers = sum(operation.author not in keys for operation in operations)
    if strangers:
        yield f"{strangers} operations are by keys that do not exist"
    Random(len(operations)).shuffle(operations)
    other = Log(Digest(honest[0].log.space))
    for operation in operations:
        other.offer(operation.envelope)
    if len(other) != len(operations):
        yield f"an independent log admits {len(other)} of {len(operations)} operations"
    elif views.root(other) != views.root(honest[0].log):
        yield "an independent log has another root"
