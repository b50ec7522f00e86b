"""One run: honest replicas and liars under one seed, hostile steps, then calm; and what must hold in the end.

The same seed and settings make the same run, on every machine.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from conjoin.log import Genesis, Operation, Policy, genesis_payload, parse, views
from conjoin.store.memory import MemoryStore
from conjoin.testing.simulator import checks
from conjoin.testing.simulator.content import contribution, keep
from conjoin.testing.simulator.disk import CrashError
from conjoin.testing.simulator.keys import Signer
from conjoin.testing.simulator.liar import Liar
from conjoin.testing.simulator.network import CALM, ROUGH, Network
from conjoin.testing.simulator.node import Node
from conjoin.testing.simulator.place import Place

STEP_MS_MAX = 60
"""Between two steps."""
ROUNDS = 2
"""So often every honest replica talks with the first one when the network is calm again; then all must be equal."""
ROUNDS_WAITING = 4
"""So often more where operations wait at one replica for ancestors that another one has."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What kind of run.

    Attributes:
        nodes: honest replicas.
        byzantine: liars.
        steps: hostile steps.
        hashed: keyed hashes stand for signatures; only inside `shortcuts`.
        replays: messages full of old operations in one flood.
    """

    nodes: int = 5
    byzantine: int = 3
    steps: int = 400
    hashed: bool = False
    replays: int = 25

    def command(self, seed: int) -> str:
        """The command line that makes the run of a seed again."""
        fast = " --fast" if self.hashed else ""
        return (
            f"conjoin simulate --seed {seed} --nodes {self.nodes} --byzantine {self.byzantine} "
            f"--steps {self.steps} --replays {self.replays}{fast}"
        )


@dataclass(slots=True)
class Run:
    """What a run found.

    Attributes:
        seed: of the run.
        deliveries: operations that arrived at a replica in a message or from a meeting place and were judged.
        admitted: how many of them the logs took; the others were known, forged, or without their ancestors.
        messages: frames that arrived.
        operations: in the honest logs at the end.
        forks: authors and numbers with several operations.
        events: how often what happened.
        violations: what does not hold, in a sentence each; none in a good run.
    """

    seed: int
    deliveries: int = 0
    admitted: int = 0
    messages: int = 0
    operations: int = 0
    forks: int = 0
    events: Counter[str] = field(default_factory=Counter[str])
    violations: list[str] = field(default_factory=list[str])


class World:
    """The replicas of one run, and what may happen to them."""

    def __init__(self, seed: int, settings: Settings) -> None:
        self._chance = Random(f"conjoin/simulator/{seed}")
        self._settings = settings
        self.run = Run(seed)
        self.network = Network(self._chance)
        self.is_open = self._chance.random() < 0.5
        hashed = settings.hashed
        names = [f"honest {number}" for number in range(settings.nodes)]
        lying = [f"liar {number}" for number in range(settings.byzantine)]
        genesis = self._genesis(Signer(names[0], hashed=hashed))
        self.honest = [Node(name, genesis, self.network, self._chance, hashed=hashed) for name in names]
        self.liars = [Liar(name, genesis, self.network, self._chance, hashed=hashed) for name in lying]
        self.place = Place(self._chance, failing=0.03, hiding=0.1)
        self._contributions = 0
        founder = self.honest[0]
        keep(founder.disk, 0)
        keep(founder.disk, None)
        if not self.is_open:
            for node in (*self.honest[1:], *self.liars):
                self._let_in(node)
        for node in (*self.honest[1:], *self.liars):
            for operation in founder.log.operations():
                node.log.offer(operation)
                node.disk.put(operation.name, operation.envelope)

    def _genesis(self, founder: Signer) -> Operation:
        store = MemoryStore()
        policy = Policy(open=self.is_open, retract=self._chance.choice(("author", "member")))
        body = Genesis(keep(store, 0), keep(store, None), self._chance.randbytes(16).hex(), "simulated", policy)
        return parse(founder.seal(genesis_payload(founder.key, body)))

    def play(self) -> Run:
        """The hostile steps, then calm, then the checks."""
        for _ in range(self._settings.steps):
            self.network.run(self.network.now_ms + self._chance.randint(1, STEP_MS_MAX))
            self._step()
        self._settle()
        self.run.messages = self.network.messages
        self.run.deliveries = sum(node.delivered for node in (*self.honest, *self.liars))
        self.run.admitted = sum(len(node.log) for node in (*self.honest, *self.liars))
        self.run.operations = len(self.honest[0].log)
        self.run.forks = len(views.forks(self.honest[0].log))
        everyone = (*self.honest, *self.liars)
        every = {key for node in everyone for key in node.keys}
        strategy = checks.strategy_of(self.run.seed)
        self.run.violations += checks.violations(self.honest, every, resolve_with=strategy)
        return self.run

    # ------------------------------------------------------------------------------------------------ hostile steps
    def _step(self) -> None:
        steps: Sequence[tuple[int, str, Callable[[Node], None]]] = (
            (16, "add", self._add),
            (7, "retract", self._retract),
            (2, "note", lambda node: self._wrote(node.write("note", {"n": self._chance.randrange(100)}))),
            (22, "session", lambda node: self._session(node)),
            (6, "visit", lambda node: self._visit(node)),
            (5, "crash", lambda node: setattr(node.disk, "crash_in", self._chance.randint(0, 6))),
            (2, "full disk", self._fill),
            (3, "backup", lambda node: node.back_up()),
            (2, "restore", self._restore),
            (2, "partition", lambda _: self._cut()),
            (3, "heal", lambda _: self._mend()),
            (3, "rekey", self._rekey),
            (4 * bool(self.liars), "rubbish in the place", lambda _: self._litter()),
            (5 * len(self.liars), "attack", lambda _: self._attack()),
        )
        _, name, happens = self._chance.choices(steps, [weight for weight, _, _ in steps])[0]
        node = self._chance.choice(self.honest)
        if not node.running:
            self.run.events["start"] += 1
            node.start()
            return
        self.run.events[name] += 1
        try:
            happens(node)
        except CrashError:
            node.crash()
            self.run.events["crashed"] += 1

    def _wrote(self, operation: Operation | None) -> None:
        self.run.events["operations written"] += operation is not None

    def _add(self, node: Node) -> None:
        """Content first, then the operation; now and then the same content as somebody else."""
        self._contributions += self._chance.random() < 0.8
        number = self._chance.randint(max(1, self._contributions - 3), max(1, self._contributions))
        if node.disk.full:
            return
        added = contribution(node.disk, node.log.genesis.base, number)
        body = {"contribution": added.to_json(), "license": "", "time": node.time, "title": f"{node.name}: {number}"}
        self._wrote(node.write("add", body))

    def _retract(self, node: Node) -> None:
        seen = [view for view in views.contributions(node.log).values() if view.visible]
        if seen:
            adds = self._chance.choice(seen).live[:8]
            self._wrote(node.write("retract", {"adds": sorted(add.id for add in adds)}))

    def _session(self, node: Node) -> None:
        others = [other for other in (*self.honest, *self.liars) if other is not node]
        if not node.talking or self._chance.random() < 0.3:
            node.sync_with(self._chance.choice(others))

    def _visit(self, node: Node) -> None:
        if not node.visiting:
            node.visit(self.place)

    def _fill(self, node: Node) -> None:
        node.disk.full = True
        self.network.after(300, lambda: setattr(node.disk, "full", False))

    def _restore(self, node: Node) -> None:
        if node.backups and node is not self.honest[0]:
            node.restore()
            if self._chance.random() < 0.5:
                self._add(node)  # somebody goes on working before the replica hears of anything

    def _cut(self) -> None:
        everyone = (*self.honest, *self.liars)
        self.network.partition = frozenset(n.name for n in everyone if self._chance.random() < 0.5)

    def _mend(self) -> None:
        self.network.partition = frozenset()

    def _rekey(self, node: Node) -> None:
        """Whoever noticed that its key signs elsewhere takes a new one; the founder lets it in."""
        for other in self.honest:
            if other.running and other.key_used_elsewhere:
                other.rekey()
        founder = self.honest[0]
        if founder.running and not self.is_open:
            self._let_in(node)

    def _let_in(self, node: Node) -> None:
        if node.signer.key not in views.members(self.honest[0].log):
            self._wrote(self.honest[0].write("member", {"key": node.signer.key, "role": "member"}))

    def _attack(self) -> None:
        victims = [node for node in self.honest if node.running]
        if victims:
            liar = self._chance.choice(self.liars)
            if self._chance.random() < 0.3:
                liar.sync_with(self._chance.choice(victims))
            else:
                liar.tell_lies(victims, self._settings.replays)

    def _litter(self) -> None:
        """Damaged copies and forged names in the meeting place."""
        liar = self._chance.choice(self.liars)
        for operation in self._chance.choices(liar.log.operations(), k=3):
            wrong = operation.envelope[:-9] + b"A" + operation.envelope[-8:]
            self.place.objects.setdefault(operation.name, wrong)
            self.place.objects.setdefault(operation.name[:-4] + "0000", operation.envelope)

    # ------------------------------------------------------------------------------------------------ calm
    def _settle(self) -> None:
        """Heal everything; let all honest replicas talk as often as the protocol promises is enough."""
        self.network.run()
        self.network.partition = frozenset()
        self.network.weather = CALM
        for node in self.honest:
            node.disk.crash_in, node.disk.full = None, False
            if not node.running:
                node.start()
        by_place = self._chance.random() < 0.4
        clean = Place(self._chance)
        for _ in range(ROUNDS + ROUNDS_WAITING * self._some_wait()):
            self._round(clean if by_place else None)
        # The other way must find nothing left to do.
        moved = self._round(clean if by_place else None) + (self._round(None) if by_place else 0)
        if moved:
            self.run.violations.append(f"not quiescent: {moved} operations moved in one more round")
        self.network.weather = ROUGH

    def _some_wait(self) -> bool:
        """Whether an operation waits for ancestors all of which honest replicas have, or have waiting too."""
        waiting = [operation for node in self.honest for operation in node.log.waiting()]
        there = {operation.id for operation in waiting}
        for node in self.honest:
            there.update(operation.id for operation in node.log.operations())
        return any(there.issuperset(operation.parents) for operation in waiting)

    def _round(self, place: Place | None) -> int:
        """Every honest replica visits the place, or talks with the first one; how many operations moved."""
        moved = 0
        for node in self.honest if place else self.honest[1:]:
            outcome = node.visit(place) if place else node.sync_with(self.honest[0])
            self.network.run()
            moved += outcome.operations_in + outcome.operations_out
        return moved


def simulate(seed: int, settings: Settings) -> Run:
    """One run of one seed."""
    return World(seed, settings).play()
