"""Reachable histories: a deterministic world of replicas with real logs and keys; draws no state that was not reached.

Laws of states hold for reachable states only, so every state here was made by operations, losses, duplicates,
partitions, backups and forks. Hypothesis draws scripts; the same script makes the same world, byte for byte.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import strategies as st

from conjoin.crdt import CausalContext, Dot, MergeState
from conjoin.log import Add, Genesis, Log, Operation, Policy, Retract, draft, genesis_payload, parse
from conjoin.wire import canonical
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import Digest, merkle_root, sha256
from conjoin.wire.envelope import seal

BASE = sha256(b"conjoin/testing/base")
NO_FILES = merkle_root([])
ELEMENTS = tuple(sha256(b"conjoin/testing/element", bytes([i])) for i in range(5))


class Signer:
    """An Ed25519 key made from a label, so that every run has the same keys."""

    def __init__(self, label: str) -> None:
        seed = hashlib.sha256(b"conjoin/testing/key/" + label.encode("utf-8")).digest()
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.label = label
        self.key = self._private.public_key().public_bytes_raw().hex()

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`."""
        return self._private.sign(data)

    def seal(self, payload: bytes) -> bytes:
        """The envelope of `payload`, signed."""
        return seal(payload, self.key, self.sign)


def sample_contribution(number: int, weight: str = "1") -> Contribution:
    """One of many contributions to BASE, by number."""
    return Contribution(sha256(b"conjoin/testing/weights", str(number).encode("ascii")), BASE, weight)


def add_body(contribution: Contribution, title: str = "", license: str = "", time: str = "") -> canonical.Json:  # noqa: A002
    """The body of an `add` operation."""
    return {"contribution": contribution.to_json(), "license": license, "time": time, "title": title}


def found(signer: Signer, *, open: bool = False, retract: str = "author", name: str = "testing") -> Operation:  # noqa: A002
    """The genesis of a space over BASE."""
    policy = Policy.from_json({**Policy().to_json(), "open": open, "retract": retract})
    return parse(signer.seal(genesis_payload(signer.key, Genesis(BASE, NO_FILES, "00" * 16, name, policy))))


@dataclass
class Site:
    """One replica: its key, its log, and beside it the state that the OR-Set alone would have."""

    signer: Signer
    log: Log
    state: MergeState = field(default_factory=MergeState)
    backups: list[tuple[Operation, ...]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The replica's public key in hex."""
        return self.signer.key


class World:
    """Four or more replicas of one space. Every method is one step of a history; `number` arguments choose, modulo.

    Args:
        sites: how many replicas; the first founds the space and lets the others in.
        retract: the policy on who retracts.
        open: whether the space is open, so that nobody is let in.
        said: what every title begins with; it must not matter.
    """

    def __init__(self, sites: int = 4, retract: str = "member", *, open: bool = False, said: str = "") -> None:  # noqa: A002
        self._said = said
        signers = [Signer(f"site {i}") for i in range(sites)]
        genesis = found(signers[0], open=open, retract=retract)
        self.sites = [Site(signer, Log(genesis.id)) for signer in signers]
        self.partition: frozenset[int] = frozenset()
        self.forked = False
        self._deltas: dict[Digest, MergeState] = {}
        self._serial = 0
        self._note(genesis, MergeState({}, {}, CausalContext.of([Dot(genesis.author, 0)])))
        self.deliver(self.sites[0], [genesis])
        if not open:
            for signer in signers[1:]:
                self._write(self.sites[0], "member", {"key": signer.key, "role": "member"})
        for site in self.sites[1:]:
            self.deliver(site, self.sites[0].log.operations())

    def _note(self, operation: Operation, delta: MergeState) -> None:
        self._deltas[operation.id] = delta

    def _write(self, site: Site, kind: str, body: canonical.Json, delta: MergeState | None = None) -> Operation:
        operation = parse(site.signer.seal(draft(site.log, site.key, kind, body)))
        self._note(operation, delta or MergeState({}, {}, CausalContext.of([Dot(site.key, operation.seq)])))
        self.deliver(site, [operation])
        return operation

    def deliver(self, site: Site, operations: Iterable[Operation]) -> None:
        """Offer operations to a replica; whatever that admits changes its state too, until the first fork."""
        for operation in operations:
            admitted = site.log.offer(operation).admitted
            if not self.forked:
                for one in admitted:
                    site.state |= self._deltas[one.id]

    def add(self, who: int, what: int) -> None:
        """A replica adds one of five contributions; title and time differ every time."""
        site, contribution = self._site(who), sample_contribution(what % 5)
        self._serial += 1
        delta = site.state.add(site.key, contribution.digest)
        self._write(site, "add", add_body(contribution, f"{self._said} {self._serial}", "MIT"), delta)

    def retract(self, who: int, what: int) -> None:
        """A replica retracts one of the contributions it sees, as far as it may."""
        site = self._site(who)
        seen = live_elements(site.log.operations())
        if not seen:
            return
        element = seen[what % len(seen)]
        adds = live_adds(site.log.operations(), element)
        if site.log.genesis.policy.retract == "author" and site.key != site.log.founder:
            adds = [add for add in adds if add.author == site.key]
        if not adds:
            return
        dots = frozenset(Dot(add.author, add.seq) for add in adds)
        delta = None
        if not self.forked:
            delta = site.state.retract(site.key, element)
            if dots != frozenset(site.state.dots_of(element)):
                delta = MergeState({}, dict.fromkeys(delta.tombstones, dots), delta.context)
        self._write(site, "retract", {"adds": sorted(add.id for add in adds)}, delta)

    def unknown(self, who: int, what: int) -> None:
        """A replica with newer software writes something that nobody here understands."""
        self._write(self._site(who), "attest", {"what": what})

    def sync(self, who: int, other: int, seed: int) -> None:
        """Everything one replica lacks arrives from another, shuffled, with duplicates, over real envelopes."""
        source, target = self._site(other), self._site(who)
        if (who % len(self.sites) in self.partition) != (other % len(self.sites) in self.partition):
            return
        chance = random.Random(seed)
        lacking = [operation for operation in source.log.operations() if not target.log.has(operation.id)]
        sent = lacking + [operation for operation in lacking if chance.random() < 0.2]
        chance.shuffle(sent)
        self.deliver(target, sent)

    def lose(self, who: int, other: int, seed: int) -> None:
        """A sync in which half of the operations are lost; what came without its ancestors waits."""
        source, target = self._site(other), self._site(who)
        chance = random.Random(seed)
        sent = [operation for operation in source.log.operations() if chance.random() < 0.5]
        chance.shuffle(sent)
        self.deliver(target, sent)

    def split(self, members: int) -> None:
        """Cut the network in two; `members` is a bit set of one side, 0 heals it."""
        self.partition = frozenset(i for i in range(len(self.sites)) if members >> i & 1)

    def back_up(self, who: int) -> None:
        """Keep an old copy of a replica."""
        site = self._site(who)
        site.backups.append(site.log.operations())

    def restore(self, who: int, other: int) -> None:
        """Somebody delivers an old copy, long after."""
        backups = self._site(other).backups
        if backups:
            self.deliver(self._site(who), backups[-1])

    def fork(self, what: int) -> None:
        """The last site lies: it writes a second operation after an earlier point of its own chain."""
        site = self.sites[-1]
        mine = [operation for operation in site.log.operations() if operation.author == site.key]
        if not mine:
            return
        self.forked = True
        before = mine[what % len(mine)]
        self._serial += 1
        fields = canonical.decode(before.payload)
        fields["body"] = add_body(sample_contribution(what % 5), f"fork {self._serial}")
        fields["type"] = "add"
        operation = parse(site.signer.seal(canonical.encode(fields)))
        dot = Dot(f"{site.key}#{operation.id}", operation.seq)
        self._note(operation, MergeState({}, {}, CausalContext.of([dot])))
        self.deliver(site, [operation])

    def settle(self, seed: int = 0) -> None:
        """Heal the network and let every replica hear of everything, in an order of its own."""
        self.partition = frozenset()
        everything = {operation.id: operation for site in self.sites for operation in site.log.operations()}
        for number, site in enumerate(self.sites):
            order = [everything[name] for name in sorted(everything)]
            random.Random(seed * 101 + number).shuffle(order)
            self.deliver(site, order)

    def _site(self, number: int) -> Site:
        return self.sites[number % len(self.sites)]


def live_adds(operations: Sequence[Operation], element: str) -> list[Operation]:
    """The `add` operations of `element` that no `retract` names: the definition, written down without dots."""
    gone = {add for operation in operations if isinstance(operation.meaning, Retract) for add in operation.meaning.adds}
    return [
        operation
        for operation in operations
        if isinstance(operation.meaning, Add)
        and operation.meaning.contribution.digest == element
        and operation.id not in gone
    ]


def live_elements(operations: Sequence[Operation]) -> tuple[Digest, ...]:
    """The visible set by definition, as an oracle for the views."""
    added = {op.meaning.contribution.digest for op in operations if isinstance(op.meaning, Add)}
    return tuple(element for element in sorted(added) if live_adds(operations, element))


class Step(NamedTuple):
    """One step of a script: the name of a method of World or Sets, and numbers for it."""

    name: str
    numbers: tuple[int, ...]


def play(world: "World | Sets", script: Iterable[Step]) -> None:
    """Run a script."""
    for step in script:
        method: Callable[..., None] = getattr(world, step.name)
        method(*step.numbers)


_SMALL = st.integers(0, 7)
_SEED = st.integers(0, 2**16)


def _step(name: str, *numbers: st.SearchStrategy[int]) -> st.SearchStrategy[Step]:
    return st.builds(Step, st.just(name), st.tuples(*numbers))


def scripts(*, forks: bool = False, steps_max: int = 36) -> st.SearchStrategy[list[Step]]:
    """Scripts for a World: at least half as long as `steps_max`, so that most hold retractions and late arrivals."""
    steps = [
        _step("add", _SMALL, _SMALL),
        _step("add", _SMALL, _SMALL),
        _step("add", _SMALL, _SMALL),
        _step("retract", _SMALL, _SMALL),
        _step("retract", _SMALL, _SMALL),
        _step("sync", _SMALL, _SMALL, _SEED),
        _step("sync", _SMALL, _SMALL, _SEED),
        _step("sync", _SMALL, _SMALL, _SEED),
        _step("lose", _SMALL, _SMALL, _SEED),
        _step("split", st.integers(0, 15)),
        _step("back_up", _SMALL),
        _step("restore", _SMALL, _SMALL),
        _step("unknown", _SMALL, _SMALL),
    ]
    if forks:
        steps += [_step("fork", _SMALL), _step("fork", _SMALL)]
    return st.lists(st.one_of(steps), min_size=steps_max // 2, max_size=steps_max)


class Sets:
    """Replicas of the OR-Set alone: states, deltas on their way, and old copies. No log and no keys."""

    def __init__(self, replicas: int = 4) -> None:
        self.states = [MergeState() for _ in range(replicas)]
        self.deltas: list[MergeState] = []
        self.copies: list[MergeState] = []

    def _change(self, who: int, delta: MergeState) -> None:
        self.deltas.append(delta)
        self.states[who] |= delta

    def add(self, who: int, what: int) -> None:
        """A replica adds one of five elements."""
        who %= len(self.states)
        self._change(who, self.states[who].add(f"replica {who}", ELEMENTS[what % 5]))

    def retract(self, who: int, what: int) -> None:
        """A replica retracts one of the elements it sees."""
        who %= len(self.states)
        seen = self.states[who].visible()
        if seen:
            self._change(who, self.states[who].retract(f"replica {who}", seen[what % len(seen)]))

    def join(self, who: int, other: int) -> None:
        """A replica joins the whole state of another."""
        self.states[who % len(self.states)] |= self.states[other % len(self.states)]

    def bring(self, who: int, other: int) -> None:
        """A replica gets from another exactly the delta it lacks."""
        who, other = who % len(self.states), other % len(self.states)
        self.states[who] |= self.states[other].missing(self.states[who].context)

    def deliver(self, who: int, which: int) -> None:
        """One delta arrives, maybe again, maybe before what it follows."""
        if self.deltas:
            self.states[who % len(self.states)] |= self.deltas[which % len(self.deltas)]

    def copy(self, who: int) -> None:
        """Keep an old copy of a state."""
        self.copies.append(self.states[who % len(self.states)])

    def restore(self, who: int, which: int) -> None:
        """An old copy arrives."""
        if self.copies:
            self.states[who % len(self.states)] |= self.copies[which % len(self.copies)]


def set_scripts(steps_max: int = 36) -> st.SearchStrategy[list[Step]]:
    """Scripts for Sets, at least a third as long as `steps_max`."""
    steps = [
        _step("add", _SMALL, _SMALL),
        _step("retract", _SMALL, _SMALL),
        _step("retract", _SMALL, _SMALL),
        _step("join", _SMALL, _SMALL),
        _step("bring", _SMALL, _SMALL),
        _step("deliver", _SMALL, _SEED),
        _step("copy", _SMALL),
        _step("restore", _SMALL, _SEED),
    ]
    return st.lists(st.one_of(steps), min_size=steps_max // 3, max_size=steps_max)
