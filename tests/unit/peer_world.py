"""Two sites that talk as live peers in one thread; every message is bytes on its way. No network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.unit.sync_world import Site

from conjoin.errors import ConjoinError, MissingObjectError
from conjoin.store.base import holds
from conjoin.sync.host import Host
from conjoin.sync.messages import Get, Message, Object, Put, Question, Refused, decode, encode
from conjoin.sync.pulling import Outcome
from conjoin.sync.requests import Fetch, Held, Keep, Persist, PullLeaves, PushLeaves, Read, WantedLeaf
from conjoin.sync.session import Ask, session


@dataclass
class Line:
    """Questions to a host as bytes; `bend` may change an answer, `cut_after` ends the line after so many questions."""

    host: Host
    bend: Callable[[Question, Message], Message] = lambda question, answer: answer
    cut_after: int | None = None
    asked: list[Question] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def ask(self, question: Question) -> Message | ConjoinError:
        if self.cut_after is not None and len(self.asked) >= self.cut_after:
            raise ConnectionResetError
        frame = encode(question)
        arrived = decode(frame)
        assert arrived == question
        answer = encode(self.bend(question, self.host.answer(arrived)))
        self.asked.append(question)
        self.sizes.append((len(frame), len(answer)))
        try:
            return decode(answer)
        except ConjoinError as error:
            return error


def host_of(site: Site, *, room: int = 1 << 40) -> Host:
    return Host(site.log, site.store, site.persist, lambda: room)


def talk(site: Site, line: Line, *, push: bool = True, nonce: str | None = None) -> Outcome:
    """One session of `site` over `line`, driven to its end."""
    outcome = Outcome()
    number = hashlib.sha256(f"{site.name}{len(site.events)}".encode()).hexdigest()[:32]
    steps, answer = session(site.log, outcome, nonce or number, push=push), None
    while True:
        try:
            request = steps.send(answer)
        except StopIteration:
            return outcome
        answer = _answer(site, line, request)


def _answer(site: Site, line: Line, request: object) -> object:
    match request:
        case Ask(question):
            return line.ask(question)
        case Held(names):
            return frozenset(name for name in names if holds(site.store, name))
        case Read(name):
            return site.store.get(name)
        case Fetch(names, _):
            return [_object(line, name) for name in names]
        case PullLeaves(_, leaves):
            return {leaf.name: error for leaf in leaves if (error := _pull(site, line, leaf)) is not None}
        case PushLeaves(_, leaves):
            for leaf in leaves:
                line.ask(Put(leaf.name, site.store.get(leaf.name)))
            return {}
        case Keep(name, data):
            site.store.put(name, data)
        case Persist(operation):
            site.persist(operation)
    return None


def _pull(site: Site, line: Line, leaf: WantedLeaf) -> ConjoinError | None:
    data = _object(line, leaf.name)
    try:
        if isinstance(data, ConjoinError):
            return data
        leaf.check(data)
        site.store.put(leaf.name, data)
    except ConjoinError as error:
        return error
    return None


def _object(line: Line, name: str) -> bytes | ConjoinError:
    answer = line.ask(Get(name))
    if isinstance(answer, Object):
        return answer.data
    assert isinstance(answer, Refused), answer
    return MissingObjectError(answer.what, where=name)
