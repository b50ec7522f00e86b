"""Replicas that push what they have, as frames: a log, a key and nothing on disk; what Tier 3 runs on, no session.

An operation is signed with Ed25519 and verified once in this process, or once by every replica; bytes that come again
are only looked up. Every message is a frame of the product's protocol, made and read anew.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Protocol

from conjoin.log import Genesis, Log, Operation, Policy, draft, genesis_payload, parse, views
from conjoin.sync.messages import Hello, Offer, Range, decode, encode
from conjoin.testing.simulator.keys import Signer
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import Digest, merkle_root, sha256

Reader = Callable[[bytes], Operation]
verified: Reader = lru_cache(1 << 17)(parse)
"""An envelope's operation, verified when this process first sees it."""

BASE = sha256(b"conjoin/simulate/base")


class HasLog(Protocol):
    """Any replica, as far as its root is asked for."""

    log: Log


class Replica:
    """A log that is told of operations, which `read` verifies."""

    def __init__(self, genesis: Operation, signer: Signer, read: Reader = verified) -> None:
        self.log = Log.founded_by(genesis)
        self.signer = signer
        self._read = read
        self._frame: tuple[int, bytes] = (0, b"")
        self._greeting: tuple[int, bytes] = (0, b"")

    def add(self, weights: Digest) -> Operation:
        """Offer content to everybody."""
        body = {
            "contribution": Contribution(weights, self.log.genesis.base, "1").to_json(),
            "license": "",
            "time": "",
            "title": self.signer.label,
        }
        operation = parse(self.signer.seal(draft(self.log, self.signer.key, "add", body)))
        self.log.offer(operation)
        return operation

    def everything(self) -> bytes:
        """The frame of all it has; made again only where it has more."""
        if self._frame[0] != len(self.log):
            envelopes = tuple(operation.envelope for operation in self.log.operations())
            self._frame = (len(self.log), encode(Offer(envelopes, True)))
        return self._frame[1]

    def greeting(self) -> bytes:
        """The frame that says by a fingerprint what it has; made again only where it has more."""
        if self._greeting[0] != len(self.log):
            fingerprint = sha256("".join(self.log.heads()).encode())
            hello = Hello(self.log.space, "0" * 32, (Range("", "", fingerprint),), send=False)
            self._greeting = (len(self.log), encode(hello))
        return self._greeting[1]

    def knows(self, frame: bytes) -> bool:
        """Whether whoever sends this greeting has just what this one has: then it is the greeting of this one."""
        return frame == self.greeting()

    def hear(self, frame: bytes) -> int:
        """Take in a frame; how many operations were new."""
        message = decode(frame)
        assert isinstance(message, Offer), "replicas only offer"
        log, read, before = self.log, self._read, len(self.log)
        for envelope in message.operations:
            operation = read(envelope)
            if not log.has(operation.id):
                log.offer(operation)
        return len(log) - before


def found(replicas: int, base: Digest = BASE, label: str = "replica", *, alone: bool = False) -> list[Replica]:
    """The replicas of a new open space; `alone`: each verifies every operation itself."""
    signers = [Signer(f"{label} {number}") for number in range(replicas)]
    body = Genesis(base, merkle_root([]), "00" * 16, "simulated", Policy(open=True))
    genesis = parse(signers[0].seal(genesis_payload(signers[0].key, body)))
    return [Replica(genesis, signer, lru_cache(1 << 17)(parse) if alone else verified) for signer in signers]


def all_pairs(replicas: Sequence[Replica], order: Sequence[tuple[int, int]]) -> int:
    """Every replica pushes all it has to every other one, in this order of (from, to); returns bytes sent.

    A greeting goes first; where the other one has the same, nothing follows.
    """
    size_bytes = 0
    for source, target in order:
        greeting = replicas[source].greeting()
        size_bytes += len(greeting)
        if replicas[target].knows(greeting):
            continue
        frame = replicas[source].everything()
        size_bytes += len(frame)
        replicas[target].hear(frame)
    return size_bytes


def roots(replicas: Iterable[HasLog]) -> set[Digest]:
    """The different roots among the replicas."""
    return {views.root(replica.log) for replica in replicas}
