"""The histories of docs/spec/vectors: envelopes and what they mean in any order of arrival; nothing but fixed seeds."""

import random
from typing import Any

from conjoin.log import (
    Genesis,
    Limits,
    Log,
    Operation,
    Policy,
    draft,
    forks,
    genesis_payload,
    members,
    parse,
    root,
    visible,
)
from conjoin.testing.histories import (
    BASE,
    NO_FILES,
    Signer,
    Step,
    World,
    add_body,
    found,
    play,
    sample_contribution,
)
from conjoin.wire import canonical
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import sha256

Value = dict[str, Any]
FOUNDER, ADMIN, MEMBER, OTHER, STRANGER = (
    Signer(label) for label in ("founder", "admin", "member", "other", "stranger")
)


class Pen:
    """Writes one history: good operations through `draft`, others field by field."""

    def __init__(self, genesis: Operation, let_in: tuple[Signer, ...] = ()) -> None:
        self.genesis = genesis
        self.log = Log.founded_by(genesis)
        self.sent = [genesis]
        for signer in let_in:
            self.write(FOUNDER, "member", {"key": signer.key, "role": "member"})

    def write(self, signer: Signer, kind: str, body: canonical.Json, log: Log | None = None) -> Operation:
        """An operation that is admitted; `log` is what its author had seen, if not everything."""
        operation = parse(signer.seal(draft(log or self.log, signer.key, kind, body)))
        for place in {id(self.log): self.log, id(log or self.log): log or self.log}.values():
            assert place.offer(operation).status == "admitted"
        self.sent.append(operation)
        return operation

    def add(self, signer: Signer, number: int, log: Log | None = None, title: str = "") -> Operation:
        """An add of one of the sample contributions."""
        return self.write(signer, "add", add_body(sample_contribution(number), title), log)

    def retract(self, signer: Signer, *adds: Operation, log: Log | None = None) -> Operation:
        """A retraction of some adds."""
        return self.write(signer, "retract", {"adds": sorted(add.id for add in adds)}, log)

    def copy(self) -> Log:
        """What somebody has seen who has seen everything so far."""
        log = Log(self.log.space)
        for operation in self.log.operations():
            log.offer(operation)
        return log

    def raw(self, signer: Signer, **changes: Any) -> Operation:
        """An operation as its fields say, admissible or not. It is only sent."""
        fields = {
            "author": signer.key,
            "body": add_body(sample_contribution(9), "not to be admitted"),
            "deps": list(self.log.heads()),
            "prev": None,
            "seq": 0,
            "space": self.log.space,
            "type": "add",
            "version": 1,
        }
        operation = parse(signer.seal(canonical.encode({**fields, **changes})))
        self.sent.append(operation)
        return operation

    def told(self, name: str, about: str) -> Value:
        """The history with its outcome, which is checked to be the same in many orders."""
        outcomes = [self._outcome(seed) for seed in range(12)]
        assert all(outcome == outcomes[0] for outcome in outcomes), name
        return {
            "name": name,
            "about": about,
            "space": self.log.space,
            "envelopes": [operation.envelope.decode("ascii") for operation in self.sent],
            **outcomes[0],
        }

    def _outcome(self, seed: int) -> Value:
        order = list(self.sent)
        if seed:
            random.Random(seed).shuffle(order)
        log, refused = Log(self.log.space), {}
        for operation in order:
            verdict = log.offer(operation.envelope)
            if verdict.status == "refused" and verdict.error is not None:
                refused[operation.id] = verdict.error.code
            refused |= {refusal.operation.id: refusal.error.code for refusal in verdict.refused}
        return {
            "operations": [operation.id for operation in log.operations()],
            "heads": list(log.heads()),
            "visible": list(visible(log)),
            "root": root(log),
            "members": members(log),
            "forks": [
                {"author": fork.author, "seq": fork.seq, "operations": list(fork.operations)} for fork in forks(log)
            ],
            "refused": dict(sorted(refused.items())),
            "waiting": sorted(operation.id for operation in log.waiting()),
        }


def histories() -> Value:
    """All histories."""
    return {"histories": [*_or_set(), *_trust(), *_refusals(), _long()]}


def _or_set() -> list[Value]:
    told = []
    pen = Pen(found(FOUNDER))
    told.append(pen.told("only a genesis", "Nothing is visible; the root is that of the empty set."))
    first = pen.add(FOUNDER, 0)
    pen.add(FOUNDER, 1)
    told.append(pen.told("two adds", "Both are visible, in ascending order of their digests."))
    pen.retract(FOUNDER, first)
    told.append(pen.told("a retraction", "A retracted contribution is not visible."))
    pen.add(FOUNDER, 0, title="once more")
    told.append(pen.told("adding again", "A new add after a retraction makes the contribution visible again."))

    pen = Pen(found(FOUNDER), (MEMBER,))
    early = pen.add(FOUNDER, 0)
    seen = pen.copy()
    pen.retract(FOUNDER, early)
    pen.add(MEMBER, 0, log=seen)
    told.append(pen.told("a concurrent add", "MEMBER adds what FOUNDER retracts, neither knowing: the add survives."))

    pen = Pen(found(FOUNDER), (MEMBER,))
    mine, yours = pen.add(FOUNDER, 0, title="mine"), pen.add(MEMBER, 0, title="yours")
    told.append(pen.told("one contribution, two authors", "One visible element with two dots; titles do not matter."))
    pen.retract(MEMBER, yours)
    told.append(pen.told("one of two adds retracted", "The other add keeps the contribution visible."))
    pen.retract(FOUNDER, mine, yours)
    told.append(pen.told("both adds retracted", "Retracting an add twice is admitted and changes nothing more."))

    pen = Pen(found(FOUNDER))
    extras = {"fisher": sha256(b"fisher")}
    for contribution in (
        sample_contribution(0),
        sample_contribution(0, "2.5"),
        Contribution(sample_contribution(0).weights, BASE, "1", extras),
    ):
        pen.write(FOUNDER, "add", add_body(contribution))
    told.append(
        pen.told("same weights, three contributions", "Weight and extras are part of a contribution's identity.")
    )
    return told


def _trust() -> list[Value]:
    told = []
    pen = Pen(found(FOUNDER), (MEMBER,))
    one, other = pen.copy(), pen.copy()
    left, right = pen.add(MEMBER, 0, log=one), pen.add(MEMBER, 1, log=other)
    pen.add(MEMBER, 2, log=one)
    told.append(pen.told("a fork", "MEMBER writes two operations of seq 0. Both branches count; the fork is reported."))
    pen.retract(FOUNDER, left)
    told.append(
        pen.told("a fork, one branch retracted", "The dots of the two branches differ, so only one add is hidden.")
    )
    pen.retract(FOUNDER, right)
    told.append(pen.told("a fork, both branches retracted", "What follows on a branch is an operation like any other."))

    pen = Pen(found(FOUNDER))
    pen.write(FOUNDER, "member", {"key": ADMIN.key, "role": "admin"})
    pen.write(ADMIN, "member", {"key": MEMBER.key, "role": "member"})
    pen.write(ADMIN, "member", {"key": MEMBER.key, "role": "member"})
    add = pen.add(MEMBER, 0)
    pen.retract(ADMIN, add)
    told.append(pen.told("admins", "An admin let in by an admin lets in a member and may retract what others added."))

    pen = Pen(found(FOUNDER, open=True))
    pen.add(STRANGER, 0)
    told.append(pen.told("an open space", "Any admissible key writes; it is not a member for that."))

    pen = Pen(found(FOUNDER, retract="member"), (MEMBER, OTHER))
    pen.retract(OTHER, pen.add(MEMBER, 0))
    told.append(pen.told("everyone retracts", "The policy lets members retract what others added."))

    pen = Pen(found(FOUNDER), (MEMBER,))
    pen.write(MEMBER, "attest", {"root": root(pen.log), "text": "of a later version"})
    later = pen.raw(MEMBER, version=7, seq=1, prev=pen.sent[-1].id, deps=[], body={"contribution": "in another form"})
    assert pen.log.offer(later).status == "admitted"
    pen.add(MEMBER, 0)
    pen.retract(FOUNDER, later)
    told.append(
        pen.told("unknown types and versions", "They are admitted, linked to and passed on, and change no view.")
    )

    pen = Pen(found(FOUNDER), (MEMBER,))
    seen = pen.copy()
    missing = pen.add(MEMBER, 0)
    pen.add(MEMBER, 1)
    pen.add(FOUNDER, 2, log=seen)
    pen.sent.remove(missing)
    told.append(
        pen.told("a missing ancestor", "What names an operation that has not arrived waits and means nothing yet.")
    )
    return told


def _refusals() -> list[Value]:
    pen = Pen(found(FOUNDER), (MEMBER, OTHER))
    add, others = pen.add(MEMBER, 0), pen.add(OTHER, 1)
    own: Value = {"prev": add.id, "seq": 1, "deps": [others.id]}
    seen_less = {"prev": add.id, "seq": 1, "deps": []}
    pen.raw(MEMBER, **{**own, "seq": 2})
    pen.raw(MEMBER, **{**own, "prev": others.id, "deps": [add.id]})
    pen.raw(STRANGER)
    pen.raw(MEMBER, **own, type="member", body={"key": STRANGER.key, "role": "member"})
    pen.raw(MEMBER, **own, type="retract", body={"adds": [others.id]})
    pen.raw(MEMBER, **seen_less, type="retract", body={"adds": [others.id]})
    pen.raw(MEMBER, **own, type="retract", body={"adds": [pen.genesis.id]})
    pen.raw(MEMBER, **own, type="retract", body={"adds": [sha256(b"nothing")]})
    pen.raw(MEMBER, **own, body=add_body(Contribution(sha256(b"w"), sha256(b"another base"))))
    pen.raw(OTHER, deps=[pen.genesis.id])
    bad = pen.raw(MEMBER, **own, type="member", body={"key": MEMBER.key, "role": "admin"})
    child = pen.raw(MEMBER, prev=bad.id, seq=2, deps=[])
    pen.raw(OTHER, prev=others.id, seq=1, deps=[child.id])
    told = [pen.told("refusals", "Each for a reason of its own; descendants of a refused operation are refused too.")]

    pen = Pen(found(FOUNDER))
    elsewhere = found(FOUNDER, name="another space")
    pen.sent.append(elsewhere)
    pen.raw(FOUNDER, space=elsewhere.id)
    told.append(
        pen.told("another space", "Its genesis and its operations are refused, also when their links would fit.")
    )

    limits = Limits(deps=2, operation_bytes=4096, operations_per_author=3)
    genesis = Genesis(BASE, NO_FILES, "11" * 16, "tight", Policy(limits=limits))
    pen = Pen(parse(FOUNDER.seal(genesis_payload(FOUNDER.key, genesis))), (MEMBER, OTHER))
    pen.raw(FOUNDER, prev=pen.sent[-1].id, seq=3, deps=[])
    first = pen.add(MEMBER, 0)
    second = pen.add(OTHER, 1)
    pen.raw(MEMBER, prev=first.id, seq=1, deps=sorted([pen.genesis.id, pen.sent[1].id, second.id]))
    pen.raw(MEMBER, prev=first.id, seq=1, deps=[second.id], type="note", body={"text": "x" * 4096})
    told.append(pen.told("a tight policy", "The limits of the genesis hold for every operation of its space."))
    return told


def _long() -> Value:
    chance = random.Random(20)
    world = World(sites=5, said="long")
    names = ["add"] * 4 + ["retract"] * 3 + ["sync"] * 4 + ["lose", "unknown", "fork"]
    for _ in range(70):
        name = chance.choice(names)
        count = {"sync": 3, "lose": 3, "fork": 1}.get(name, 2)
        play(world, [Step(name, tuple(chance.randrange(8) for _ in range(count)))])
    world.settle()
    operations = world.sites[0].log.operations()
    pen = Pen(operations[0])
    pen.sent = list(operations)
    chance.shuffle(pen.sent)
    return pen.told("a long history", "Five replicas, one of them lying: adds, retractions, losses and forks.")
