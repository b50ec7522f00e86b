"""A sync that is only rehearsed: both sides are asked what they have, and nothing is moved, kept or sent."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from conjoin.log import Add, Log, parse
from conjoin.progress import SILENT
from conjoin.store.base import Store
from conjoin.sync.driver import Drive
from conjoin.sync.messages import Answer, Found, Hello, Offer, Put, Question, Take, Taken, Wanted
from conjoin.sync.peers.base import Peer
from conjoin.sync.pulling import Outcome, content_of, wanted_leaves
from conjoin.sync.remotes.base import Remote
from conjoin.sync.report import SyncReport
from conjoin.sync.requests import Failures, Held, Keep, Persist, PullLeaves, Push, PushLeaves, Request, WantedLeaf
from conjoin.sync.session import Ask, session
from conjoin.sync.visit import visit
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import manifest_name, parse_manifest


def rehearse(log: Log, store: Store, remote: Remote | Peer, *, full: bool = False, source: str = "") -> SyncReport:
    """What a sync with this place or peer would bring and send; arguments and errors as of `synchronise`."""
    drive, ahead, outcome = Rehearsal(store, remote), log.copy(), Outcome()
    if isinstance(remote, Peer):
        drive.run(session(ahead, outcome, secrets.token_hex(16)), threads=1)
    else:
        drive.run(visit(ahead, outcome, full=full), threads=4)
    return replace(drive.report(outcome, ahead, source), root_there=None, lacking_there=None)


class Rehearsal(Drive):
    """Answers as if everything went well, and counts what would move.

    Whether a live peer has content of operations that it lacks is not known before it is offered them, so what would be
    sent to it is counted in full: an upper bound. To a place and from either what is counted is what moves, were it not
    for leaves that travel as differences, and for those that a place has lost.
    """

    def __init__(self, store: Store, remote: Remote | Peer) -> None:
        super().__init__(store, remote, lambda _: None, SILENT)
        self._kept: set[str] = set()
        self._asked_for: set[str] = set()
        self._given: set[str] = set()
        self._offered = 0

    def answer(self, request: Request | Ask) -> Any:
        """What the request's docstring promises; made up where carrying it out would change anything."""
        match request:
            case Ask(question):
                return self._rehearse(question)
            case Held(names):
                return super().answer(request) | (self._kept.intersection(names))
            case PullLeaves(_, leaves):
                self._count(objects_in=len(leaves), bytes_in=_size(leaves))
                self._kept.update(leaf.name for leaf in leaves)
                return _NO_FAILURES
            case PushLeaves(_, leaves):
                self._count(objects_out=len(leaves), bytes_out=_size(leaves))
                return _NO_FAILURES
            case Keep(name, _):
                self._count(objects_in=1)
                self._kept.add(name)
            case Persist():
                self._count(objects_in=1)
            case Push(_, data):
                self._count(objects_out=1, bytes_out=len(data))
            case _:
                return super().answer(request)
        return None

    def _rehearse(self, question: Question) -> Answer | Any:
        match question:
            case Offer(operations, last):
                self._count(objects_out=len(operations), bytes_out=sum(map(len, operations)))
                self._offered += len(operations)
                self._asked_for.update(name for envelope in operations for name in _content(envelope))
                return Wanted(tuple(sorted(self._asked_for)) if last else ())
            case Put(name, data):
                again = name in self._given
                self._given.add(name)
                return Wanted(() if again else _leaves(name, data))
            case Take():
                return Taken(self._offered, Digest("0" * 64))
            case _:
                answer = super().answer(Ask(question))
                if isinstance(question, Hello) and isinstance(answer, Found):
                    self._asked_for.update(answer.wanted)
                return answer


_NO_FAILURES: Failures = {}


def _size(leaves: Sequence[WantedLeaf]) -> int:
    return sum(leaf.size_bytes for leaf in leaves)


def _content(envelope: bytes) -> list[str]:
    """Names of the manifests that an operation needs."""
    meaning = parse(envelope).meaning
    return [manifest_name(digest) for digest in content_of(meaning.contribution)] if isinstance(meaning, Add) else []


def _leaves(name: str, data: bytes) -> tuple[str, ...]:
    digest = parse_manifest(name)
    return tuple(leaf.name for leaf in wanted_leaves(Manifest.decode(data, digest))) if digest else ()
