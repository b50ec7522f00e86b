"""What happens in `conjoin demo federation`: five served replicas, a partition, a kill, one model; prints nothing.

Each replica is served by a `conjoin serve` of its own. What the sites do is done here: a sync goes over HTTPS to the
process of the other replica, and counts the leaves on their way, so that a kill hits in the middle of a transfer.
"""

import os
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from subprocess import Popen

from conjoin.apps.demo import family
from conjoin.apps.demo.processes import Processes, Served
from conjoin.apps.demo.story import Model, compare, describe, new_folder
from conjoin.errors import ConjoinError, RemoteError
from conjoin.replica import Replica
from conjoin.sync.remotes.extras import package

STRATEGY, DENSITY = "ties", "0.5"
SIDES = (("north", "south", "west"), ("centre", "east"))
"""Who can reach whom while the network is partitioned."""
SITES = (*SIDES[0], *SIDES[1])
KILL_AFTER_LEAVES = 3
ROUNDS_MAX = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """One replica at one moment; `pid` is None while no process serves it, `visible` names the models' sites."""

    site: str
    pid: int | None
    operations: int
    visible: tuple[str, ...]
    root: str


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, in which part of the story, and how all replicas stood after it."""

    part: str
    what: str
    standings: tuple[Standing, ...]

    @property
    def sides(self) -> tuple[tuple[str, ...], ...]:
        """The sites, those with the same root together."""
        roots = dict.fromkeys(standing.root for standing in self.standings)
        return tuple(tuple(s.site for s in self.standings if s.root == root) for root in roots)


@dataclass(frozen=True, slots=True)
class Kill:
    """What came of the kill: leaves of the transfer that had arrived before it and moved after it, objects damaged."""

    site: str
    pid: int
    leaves_before: int
    leaves_after: int
    damaged: int


@dataclass(frozen=True, slots=True)
class Ending:
    """One replica at the end, and what it made of what it sees."""

    replica: str
    operations: int
    root: str
    output: str
    correct: int
    rows: int


@dataclass(frozen=True, slots=True)
class Federation:
    """Everything this demo has to tell."""

    folder: Path
    strategy: str
    sides: tuple[tuple[str, ...], ...]
    models: tuple[Model, ...]
    events: tuple[Event, ...]
    kill: Kill
    replicas: tuple[Ending, ...]
    identical: bool
    files_compared: tuple[str, ...]


@dataclass
class _Cast:
    """The replicas while the story runs."""

    folder: Path
    served: dict[str, Served]
    watch: Callable[[Event], None]
    part: str = ""
    names: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def tell(self, what: str) -> None:
        """Note that something happened."""
        event = Event(self.part, what, tuple(map(self._standing, SITES)))
        self.events.append(event)
        self.watch(event)

    def _standing(self, site: str) -> Standing:
        replica = self.replica(site)
        visible = tuple(sorted((self.names[digest] for digest in replica.visible), key=list(family.FEDERATION).index))
        return Standing(site, self.served[site].pid, len(replica.operations()), visible, replica.root)

    def replica(self, site: str) -> Replica:
        """The replica of a site as it is on disk now."""
        return Replica.open(self.folder / site)

    def add(self, site: str, model: str | None = None) -> None:
        """Let a site offer its fine-tune, or another one's that it has."""
        path = self.folder / "checkpoints" / f"{model or site}.safetensors"
        added = self.replica(site).add(path, title=_digits(family.FEDERATION[model or site]))
        self.names[added.contribution] = model or site
        self.tell(f"{site} adds {f'the model of {model}' if model else 'its model'}")

    def retract(self, site: str) -> None:
        """Let a site take its contribution back."""
        self.replica(site).retract(next(digest for digest, name in self.names.items() if name == site))
        self.tell(f"{site} retracts its own")

    def sync(self, site: str, other: str) -> None:
        """Let a site sync with the process that serves another one."""
        report = self.replica(site).sync(self.served[other].ticket)
        if report.failure is not None:
            raise report.failure
        self.tell(f"{site} syncs with {other}")

    def agree(self) -> bool:
        """Whether all replicas hold the same operations, and so the same root."""
        states = {(r.root, *(one.id for one in r.operations())) for r in map(self.replica, SITES)}
        return len(states) == 1


def run(folder: Path, watch: Callable[[Event], None]) -> Federation:
    """Make the replicas in `folder`, tell the story with them and leave everything there but the processes.

    Args:
        folder: where to; made here.
        watch: called after everything that happens, also from other threads.

    Raises:
        MissingExtraError: the packages for live peers are not installed.
        OutputExistsError: `folder` exists. On any error nothing is left behind, and no process runs on.
    """
    for name in ("uvicorn", "starlette", "urllib3"):
        package(name, "net")
    with new_folder(folder, "conjoin demo federation DIR"), Processes() as processes, _loopback_only():
        (folder / "checkpoints").mkdir()
        (folder / "merged").mkdir()
        paths = family.copy_out(folder / "checkpoints", family.FEDERATION)
        Replica.init(folder / SITES[0], paths["base"], name="digits").close()
        for site in SITES[1:]:
            Replica.clone(folder / SITES[0], folder / site).close()
        served = {site: Served(folder / site, processes) for site in SITES}
        for one in served.values():
            one.start()
        for one in served.values():
            one.wait()
        cast = _Cast(folder, served, watch)
        _together(cast)
        _apart(cast)
        kill = _healed(cast)
        outputs = _resolved(cast, processes)
        for one in served.values():
            one.end()
        endings = tuple(_ending(cast, site, outputs[site]) for site in SITES)
        compared, identical = compare([folder / "merged" / site for site in SITES])
        return Federation(
            folder=folder,
            strategy=f"{STRATEGY} -p density={DENSITY}",
            sides=SIDES,
            models=tuple(describe(name, path, family.FEDERATION) for name, path in paths.items()),
            events=tuple(cast.events),
            kill=kill,
            replicas=endings,
            identical=identical and cast.agree() and len({e.output for e in endings}) == 1,
            files_compared=compared,
        )


def _together(cast: _Cast) -> None:
    """Two models reach everybody."""
    cast.part = "all together"
    cast.tell("five processes serve five replicas")
    cast.add("south")
    cast.add("centre")
    for site in ("south", "centre", "west", "east", "south"):
        cast.sync(site, "north")  # who let the others in, and so is the first to know them all


def _apart(cast: _Cast) -> None:
    """Both sides add and retract, and know nothing of each other."""
    cast.part = "partitioned"
    cast.tell(f"nobody gets through: {' '.join(SIDES[0])} | {' '.join(SIDES[1])}")
    cast.add("north")
    cast.add("west")
    cast.retract("south")
    cast.add("east")
    cast.retract("centre")
    cast.add("centre", "south")
    for side in SIDES:
        for site, other in (*pairwise(side), *pairwise(side[-2::-1])):
            cast.sync(site, other)


def _healed(cast: _Cast) -> Kill:
    """The sides meet, one process is killed in the middle of it, and everybody comes to the same."""
    cast.part = "healed"
    cast.tell("all can reach each other again")
    cast.sync("north", "centre")
    kill = _cut_short(cast, "north", "east")
    for site, other in ROUNDS_MAX * tuple(pairwise((*SITES, SITES[0]))):
        if cast.agree():
            break
        cast.sync(site, other)
    cast.tell("all hold the same operations" if cast.agree() else "they do NOT hold the same operations")
    return kill


class _Counting:
    """Progress that calls something after so many leaves, once; the leaf that is next waits for it."""

    def __init__(self, leaves: int, then: Callable[[], None]) -> None:
        self._left = leaves
        self._then = then
        self._lock = threading.Lock()

    def start(self, what: str, total_bytes: int) -> None:
        """Ignore the stage."""

    def advance(self, done_bytes: int) -> None:  # noqa: ARG002
        """Count a leaf."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._then()


def _cut_short(cast: _Cast, site: str, other: str) -> Kill:
    """Let a site push to another one whose process is killed when some leaves have come, and begins anew."""
    served = cast.served[other]
    pid = served.pid
    assert pid is not None

    def leaves() -> set[str]:
        return set(cast.replica(other).store.names("leaf/"))

    def kill() -> None:
        served.kill()
        cast.tell(f"kill -9 {pid}: {other}, while it takes leaves from {site}")
        served.start()
        served.wait()

    before = leaves()
    with suppress(RemoteError):  # that the other side went away is the point; what was moved is kept
        cast.replica(site).sync(served.ticket, progress=_Counting(KILL_AFTER_LEAVES, kill))
    kept = leaves() - before
    damage = cast.replica(other).fsck().damage
    cast.tell(f"{other} serves again: {len(kept)} leaves are kept, {len(damage) or 'nothing'} damaged")
    cast.sync(site, other)
    return Kill(other, pid, len(kept), len(leaves() - before - kept), len(damage))


def _resolved(cast: _Cast, processes: Processes) -> dict[str, str]:
    """Let all sites merge what they see at the same time, each in a process of its own; the outputs' digests."""
    cast.part = "merged"
    merging: dict[str, Popen[str]] = {}
    for site in SITES:
        words = ("-C", cast.folder / site, "-q", "resolve", STRATEGY, "-p", f"density={DENSITY}")
        merging[site] = processes.start(*words, "-o", cast.folder / "merged" / site)
    outputs: dict[str, str] = {}
    for site, process in merging.items():
        said, complaint = process.communicate()
        if process.returncode:
            raise ConjoinError(f"{site} could not resolve: {complaint.strip()}", where=str(cast.folder / site))
        outputs[site] = said.strip()
    cast.tell(f"five processes resolve {STRATEGY}")
    return outputs


def _ending(cast: _Cast, site: str, output: str) -> Ending:
    correct, rows = family.correct(family.weights(cast.folder / "merged" / site))
    replica = cast.replica(site)
    return Ending(site, len(replica.operations()), replica.root, output, correct, rows)


def _digits(digits: Sequence[int]) -> str:
    return f"digits {digits[0]} to {digits[-1]}"


@contextmanager
def _loopback_only() -> Generator[None]:
    """A block in which no proxy of the environment is asked for 127.0.0.1."""
    before = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
    for name, value in before.items():
        os.environ[name] = ",".join(filter(None, (value, "127.0.0.1")))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
