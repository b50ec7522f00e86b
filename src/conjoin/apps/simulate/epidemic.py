"""Epidemics: push-pull gossip among up to 10,000 replicas, and a log of a million operations; judges little.

A replica here keeps the operations it knows as a bit set, because ten thousand logs would not fit; operations are
signed and verified, and every message is a frame of the protocol that is made and read.
"""

import math
import resource
import sys
import time
from dataclasses import dataclass
from random import Random

from conjoin.apps.simulate.gossip import found, verified
from conjoin.apps.simulate.report import Plot, Result, Sheet
from conjoin.log import Log, parse, views
from conjoin.progress import SILENT, Progress
from conjoin.sync.messages import Hello, Holding, Offer, decode, encode
from conjoin.wire import canonical
from conjoin.wire.digest import sha256

AUTHORS = 8
"""Replicas that begin with an operation of their own."""
NONCE = "0" * 32


@dataclass(frozen=True, slots=True)
class Spread:
    """How far news went: replicas, rounds until all knew all, messages, bytes, CPU seconds."""

    replicas: int
    rounds: int
    messages: int
    size_bytes: int
    cpu_s: float


def epidemic(seed: int, size: int | None = None, progress: Progress = SILENT) -> Result:
    """Push-pull gossip in growing networks up to `size` replicas, and a hundred times as many operations in one log."""
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
            f"{one.cpu_s:.1f} s",
        )
        for one in spreads
    )
    columns = ("replicas", "rounds", "log2 n", "messages", "a replica", "bytes a replica", "CPU")
    operations = min(10**6, 100 * largest)
    kept, many = _many(operations, operations // 100, progress)
    sheets = (Sheet(f"Push-pull gossip of {AUTHORS} operations", columns, rows), many)
    plot = Plot(
        "rounds until all know all",
        "log2 of replicas",
        "rounds",
        tuple((math.log2(s.replicas), s.rounds) for s in spreads),
    )
    holds = kept and all(one.rounds <= 4 * math.log2(one.replicas) + 4 for one in spreads)
    return Result("epidemic", holds, {"largest network": f"{largest:,}"}, sheets, (), plot)


def spread(count: int, seed: int) -> Spread:
    """Every round each replica tells a random other one what it holds, and both send what the other lacks."""
    chance = Random(seed)
    authors = found(min(AUTHORS, count), label="epidemic")
    operations = [author.add(sha256(number.to_bytes(4))) for number, author in enumerate(authors)]
    place = {operation.id: number for number, operation in enumerate(operations)}
    space = authors[0].log.space
    names = [operation.author[:16] for operation in operations]
    known = [1 << number if number < len(operations) else 0 for number in range(count)]
    everything = (1 << len(operations)) - 1
    rounds = messages = size_bytes = 0
    began = time.process_time()

    def tell(bits: int) -> bytes:
        held = tuple(Holding(names[n], ((0, operations[n].id[:16]),)) for n in range(len(names)) if bits >> n & 1)
        return encode(Hello(space, NONCE, holdings=held, send=False))

    def heard(frame: bytes) -> int:
        message = decode(frame)
        assert isinstance(message, Offer), "the other side sends operations"
        return sum(1 << place[verified(envelope).id] for envelope in message.operations)

    while any(bits != everything for bits in known):
        rounds += 1
        for here in range(count):
            there = chance.randrange(count - 1)
            there += there >= here
            asked = decode(tell(known[here]))
            assert isinstance(asked, Hello), "the question is a hello"
            held = {holding.author for holding in asked.holdings}
            theirs = sum(1 << number for number, name in enumerate(names) if name in held)
            for source, target, lacking in (
                (there, here, known[there] & ~theirs),
                (here, there, theirs & ~known[there]),
            ):
                if lacking:
                    sent = tuple(operations[n].envelope for n in range(len(operations)) if lacking >> n & 1)
                    frame = encode(Offer(sent, True))
                    known[target] |= heard(frame)
                    messages, size_bytes = messages + 1, size_bytes + len(frame)
                assert source != target, "nobody talks with itself"
            messages, size_bytes = messages + 1, size_bytes + len(tell(known[here]))
    return Spread(count, rounds, messages, size_bytes, time.process_time() - began)


def _many(count: int, retractions: int, progress: Progress) -> tuple[bool, Sheet]:
    """One log of many operations, of which a hundredth retract: time and memory to take them in and to see them."""
    writer, reader = found(2, label="many")
    progress.start("epidemic: operations", count)
    signing_s = taking_s = 0.0
    before, peak_before = time.process_time(), _peak_bytes()
    log = Log(reader.log.space)
    log.offer(reader.log.get(log.space))
    prev = writer.log.get(writer.log.space)
    adds: list[str] = []
    for number in range(count - 1):
        began = time.process_time()
        retracting = number >= count - 1 - retractions
        body = (
            {"adds": [adds[number - (count - 1 - retractions)]]}
            if retracting
            else {
                "contribution": {
                    "base": writer.log.genesis.base,
                    "extras": {},
                    "weight": "1",
                    "weights": sha256(number.to_bytes(8)),
                },
                "license": "",
                "time": "",
                "title": "",
            }
        )
        fields = {
            "author": writer.signer.key,
            "body": body,
            "deps": [],
            "prev": prev.id,
            "seq": prev.seq + 1,
            "space": log.space,
            "type": "retract" if retracting else "add",
            "version": 1,
        }
        envelope = writer.signer.seal(canonical.encode(fields))
        middle = time.process_time()
        prev = parse(envelope)
        log.offer(prev)
        adds += [] if retracting else [prev.id]
        signing_s, taking_s = signing_s + middle - began, taking_s + time.process_time() - middle
        progress.advance(1)
    began = time.process_time()
    visible = len(views.visible(log))
    seeing_s = time.process_time() - began
    rows = (
        ("operations", f"{len(log):,}"),
        ("retractions", f"{retractions:,}"),
        ("visible", f"{visible:,}"),
        ("signing and checking it", f"{signing_s:,.1f} s"),
        ("reading, verifying and admitting", f"{taking_s:,.1f} s"),
        ("the visible set", f"{seeing_s:,.1f} s"),
        ("in all", f"{time.process_time() - before:,.1f} s of CPU"),
        ("memory", f"{(_peak_bytes() - peak_before) / 1e6:,.0f} MB more than before"),
    )
    return visible == count - 1 - 2 * retractions, Sheet("One log of many operations", ("what", "figure"), rows)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
