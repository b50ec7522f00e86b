"""The paper's Tier 3 (Tables 6 to 9) over real messages: frames of signed operations; compares figures, judges nothing.

In the paper a merge hands one replica a reference to another's state. Here every push is made into bytes and read
again, by the code of `gossip`; Table 9 also has the product's sessions, in which two replicas sync both ways. Resolves
are of what a replica's log makes visible, in the order in which it came to that replica.
"""

import math
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256 as hashed
from random import Random

import numpy as np

from conjoin import memory
from conjoin.apps.audit.outfit import Outfit
from conjoin.apps.audit.outfit import Replica as Equipped
from conjoin.apps.audit.phases import digest_of
from conjoin.apps.audit.raw import Operand
from conjoin.apps.audit.sweep import swept_models
from conjoin.apps.simulate import paper
from conjoin.apps.simulate.gossip import Replica, all_pairs, found, roots
from conjoin.apps.simulate.report import Plot, Points, Result, Sheet
from conjoin.apps.simulate.talking import talked
from conjoin.errors import ConjoinError
from conjoin.log import Add, views
from conjoin.progress import SILENT, Progress
from conjoin.strategies.base import strategies
from conjoin.wire.digest import Digest, sha256

Models = Mapping[str, np.ndarray]
ORDERINGS = 20
"""Random orders of all pairs in Table 6."""
RESOLVING = 2
"""Replicas that resolve in Tables 6 and 9; that all others have the same root is checked."""
_PUSHES = (
    "a push is a greeting with a fingerprint and, where the other side has something else, all operations, as frames "
    "that are read anew; each operation is verified once in the process"
)

_SESSIONS = (
    "by sessions: every pair syncs both ways as the product does, each replica verifies every operation and keeps it "
    "on a disk in memory; making the replicas is counted too"
)


def table6(seed: int, size: int | None = None, progress: Progress = SILENT) -> Result:
    """100 replicas, 20 random orderings of all pairs, 512×512, slerp."""
    count = size or 100
    models = _models(count, 512, seed)
    progress.start("table 6: orderings", ORDERINGS)
    rows: list[tuple[str, ...]] = []
    digests: set[str] = set()
    points: list[tuple[float, float]] = []
    different, gossip_s, resolve_s = 0, 0.0, 0.0
    for ordering in range(1, ORDERINGS + 1):
        replicas = _contributing(models)
        gossiped_s, size_bytes = _gossip(replicas, _pairs(range(count), seed + ordering))
        outputs, resolved_s = _resolved(replicas[:RESOLVING], models)
        digests |= outputs
        different += len(roots(replicas)) - 1
        gossip_s, resolve_s = gossip_s + gossiped_s, resolve_s + resolved_s
        rows.append((str(ordering), _ms(gossiped_s), _ms(resolved_s / RESOLVING), f"{size_bytes / 1e6:,.0f} MB"))
        points.append((float(ordering), gossiped_s * 1000))
        progress.advance(1)
    rows.append(("mean", _ms(gossip_s / ORDERINGS), _ms(resolve_s / ORDERINGS / RESOLVING), ""))
    rows.append(("paper, mean", f"{paper.TABLE6_GOSSIP_MS:,} ms", f"{paper.TABLE6_RESOLVE_MS:,} ms", "references"))
    replicas = _contributing(models, alone=True)
    verifying_s, size_bytes = _gossip(replicas, _pairs(range(count), seed + 1))
    different += len(roots(replicas)) - 1
    rows.append(("1, verified by every replica", _ms(verifying_s), "", f"{size_bytes / 1e6:,.0f} MB"))
    holds = not different and len(digests) == 1
    facts = {"replicas": count, "merges": count * (count - 1), "outputs": sorted(digests), "different_roots": different}
    sheet = Sheet("Table 6", ("ordering", "gossip", "one resolve", "sent"), tuple(rows))
    mean = ((1.0, paper.TABLE6_GOSSIP_MS), (float(ORDERINGS), paper.TABLE6_GOSSIP_MS))
    plot = Plot("gossip of all pairs", "orderings", "CPU ms; the paper's mean in wall-clock ms", tuple(points), mean)
    return Result("table6", holds, facts, (sheet,), (_PUSHES,), plot)


def table7(seed: int, size: int | None = None, progress: Progress = SILENT) -> Result:
    """100 replicas in 10 partitions, each of which agrees; healed, all agree, on what nobody's partition changed."""
    count = size or 100
    models = _models(count, 512, seed)
    progress.start("table 7: partitions", 12)
    replicas = _contributing(models)
    parts = [range(start, min(start + 10, count)) for start in range(0, count, 10)]
    inside_s = 0.0
    inside: list[set[Digest]] = []
    for part in parts:
        inside_s += _gossip(replicas, _pairs(part, seed))[0]
        inside.append(roots([replicas[number] for number in part]))
        progress.advance(1)
    distinct = len(set[Digest]().union(*inside)) if all(len(found) == 1 for found in inside) else 0
    healing_s, points = _healing(replicas, _pairs(range(count), seed))
    progress.advance(1)
    whole = _contributing(models)
    _gossip(whole, _pairs(range(count), seed + 1))
    outputs, _ = _resolved([replicas[0], replicas[-1], whole[0]], models)
    progress.advance(1)
    healed = roots(replicas)
    same = healed == roots(whole) and len(outputs) == 1
    agree = sum(views.root(replica.log) in healed for replica in replicas) if len(healed) == 1 else 0
    rows = (
        ("partition gossip", _ms(inside_s), paper.TABLE7["partition gossip"]),
        ("distinct roots", f"{distinct}/{len(parts)}", paper.TABLE7["distinct roots"]),
        ("healing", _ms(healing_s), paper.TABLE7["healing"]),
        ("converged", f"{agree}/{count}", paper.TABLE7["converged"]),
        ("same bytes as without partition", "yes" if same else "no", "yes"),
    )
    facts = {"replicas": count, "partitions": len(parts), "output": sorted(outputs)}
    holds = same and agree == count and distinct == len(parts)
    plot = Plot("different roots while the network heals", "log2 of pushes", "roots", points)
    return Result("table7", holds, facts, (Sheet("Table 7", ("what", "ours", "paper"), rows),), (_PUSHES,), plot)


def table8(seed: int, size: int | None = None, progress: Progress = SILENT) -> Result:
    """Every strategy of the paper that is here on 10 replicas, 64×64."""
    known = strategies()
    names = [name for name in paper.TABLE8 if name in known]
    models = swept_models(seed)
    operands = [Operand.of(model) for model in models.models[: size or 10]]
    progress.start("table 8: strategies", len(names))
    rows: list[tuple[str, ...]] = []
    resolves: list[tuple[float, float]] = []
    problems: list[str] = []
    for name in names:
        replicas = found(len(operands))
        owner = {replica.add(sha256(number.to_bytes(4))).id: number for number, replica in enumerate(replicas)}
        gossip_s, _ = _gossip(replicas, _pairs(range(len(replicas)), seed))
        began = time.process_time()
        try:
            outfit = Outfit.of(known[name], Operand.of(models.base), models.layer, {})
            outputs = {digest_of(_equipped(outfit, replica, owner, operands).resolve()) for replica in replicas}
        except ConjoinError as error:
            problems.append(f"{name}: {error.what}")
            continue
        resolve_s = time.process_time() - began
        if len(outputs) != 1:
            problems.append(f"{name}: {len(outputs)} different outputs")
        gossip_ms, resolve_ms = paper.TABLE8[name]
        resolves.append((math.log10(resolve_ms), math.log10(resolve_s * 1000)))
        rows.append((name, _ms(gossip_s), _ms(resolve_s), str(len(outputs)), f"{gossip_ms} ms", f"{resolve_ms:,} ms"))
        progress.advance(1)
    columns = ("strategy", "gossip", "resolves", "outputs", "paper: gossip", "paper: resolve")
    facts = {"replicas": len(operands), "strategies": len(names)}
    ascending = [(float(place), *figures) for place, figures in enumerate(sorted(resolves), 1)]
    plot = Plot(
        "all resolves of a strategy",
        "strategies, as the paper's take longer",
        "log10 of CPU ms; the paper's of wall-clock ms",
        tuple((place, ours) for place, _, ours in ascending),
        tuple((place, theirs) for place, theirs, _ in ascending),
    )
    sheet = Sheet("Table 8", columns, tuple(rows))
    return Result("table8", not problems, facts, (sheet,), (_PUSHES,), plot, tuple(problems))


def table9(seed: int, size: int | None = None, progress: Progress = SILENT) -> Result:
    """2 to 50 replicas, 64×64, slerp; and the same pairs by the product's own sessions."""
    counts = [count for count in paper.TABLE9 if count <= (size or 50)]
    progress.start("table 9: sizes", len(counts))
    rows: list[tuple[str, ...]] = []
    points: list[tuple[float, float]] = []
    holds = True
    for count in counts:
        models = _models(count, 64, seed)
        replicas = _contributing(models)
        gossip_s, _ = _gossip(replicas, _pairs(range(count), seed))
        outputs, resolve_s = _resolved(replicas[:RESOLVING], models)
        began = time.process_time()
        talking = talked(count, _pairs(range(count), seed), seed)
        talked_s = time.process_time() - began
        holds = holds and len(outputs) == len(roots(replicas)) == len(roots(talking)) == 1
        gossip_ms, resolve_ms = paper.TABLE9[count]
        merges = f"{count * (count - 1):,}"
        each = _ms(resolve_s / RESOLVING)
        ours = _ms(gossip_s), _ms(talked_s), each
        rows.append((str(count), merges, *ours, f"{gossip_ms} ms", f"{resolve_ms} ms"))
        points.append((float(count), gossip_s * 1000))
        progress.advance(1)
    columns = ("replicas", "merges", "gossip", "by sessions", "one resolve", "paper: gossip", "paper: resolve")
    theirs = tuple((float(count), paper.TABLE9[count][0]) for count in counts)
    plot = Plot("gossip of all pairs", "replicas", "CPU ms; the paper's wall-clock ms", tuple(points), theirs)
    sheet = Sheet("Table 9", columns, tuple(rows))
    return Result("table9", holds, {"sizes": ", ".join(map(str, counts))}, (sheet,), (_PUSHES, _SESSIONS), plot)


# ---------------------------------------------------------------------------------------------------- pieces
def _models(count: int, side: int, seed: int) -> Models:
    """One tensor for each replica, by a content digest that stands for it."""
    found_models: dict[str, np.ndarray] = {}
    for number in range(count):
        tensor = np.random.default_rng((seed, number)).standard_normal((side, side), np.float32)
        found_models[sha256(tensor.tobytes())] = tensor
    return found_models


def _contributing(models: Models, *, alone: bool = False) -> list[Replica]:
    """Replicas each of which has added one model; `alone`: each verifies every operation itself."""
    replicas = found(len(models), alone=alone)
    for replica, content in zip(replicas, models, strict=True):
        replica.add(Digest(content))
    return replicas


def _pairs(numbers: Sequence[int], seed: int) -> list[tuple[int, int]]:
    """Every ordered pair once, in a random order."""
    pairs = [(source, target) for source in numbers for target in numbers if source != target]
    Random(seed).shuffle(pairs)
    return pairs


def _gossip(replicas: Sequence[Replica], order: Sequence[tuple[int, int]]) -> tuple[float, int]:
    """CPU seconds and bytes of one round."""
    began = time.process_time()
    size_bytes = all_pairs(replicas, order)
    return time.process_time() - began, size_bytes


def _healing(replicas: Sequence[Replica], order: Sequence[tuple[int, int]]) -> tuple[float, Points]:
    """CPU seconds of one round, and the different roots after 1, 2, 4, … of its pushes, whose log2 is x."""
    points: list[tuple[float, float]] = []
    healing_s, start = 0.0, 0
    while start < len(order):
        end = min(2 * start or 1, len(order))
        healing_s += _gossip(replicas, order[start:end])[0]
        points.append((math.log2(end), float(len(roots(replicas)))))
        start = end
    return healing_s, tuple(points)


def _came(replica: Replica) -> list[str]:
    """The visible contents of a replica, in the order in which they came to it."""
    seen = {view.contribution.weights for view in views.contributions(replica.log).values() if view.visible}
    meanings = (node.operation.meaning for node in replica.log.ancestry.nodes.values())
    came = (meaning.contribution.weights for meaning in meanings if isinstance(meaning, Add))
    return [weights for weights in dict.fromkeys(came) if weights in seen]


def _resolved(replicas: Sequence[Replica], models: Models) -> tuple[set[str], float]:
    """Digests of what the replicas resolve to by SLERP, one model after the other as in the paper, and CPU seconds."""
    began = time.process_time()
    digests: set[str] = set()
    for replica in replicas:
        seen = [models[weights] for weights in _came(replica)]
        merged = memory.resolve(seen, "slerp", seed=replica.log.space, reduce="fold")
        digests.add(hashed(np.ascontiguousarray(merged).tobytes()).hexdigest())
    return digests, time.process_time() - began


def _equipped(outfit: Outfit, replica: Replica, owner: Mapping[Digest, int], operands: Sequence[Operand]) -> Equipped:
    """What the audit equips a strategy with, for the models that this replica sees, as they came."""
    whose = {
        node.operation.meaning.contribution.weights: owner[node.operation.id]
        for node in replica.log.ancestry.nodes.values()
        if isinstance(node.operation.meaning, Add)
    }
    numbers = [whose[Digest(weights)] for weights in _came(replica)]
    equipped = Equipped.with_model(outfit, str(numbers[0]), operands[numbers[0]])
    for number in numbers[1:]:
        equipped.receive(Equipped.with_model(outfit, str(number), operands[number]))
    return equipped


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"
