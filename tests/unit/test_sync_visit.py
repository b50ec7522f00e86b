"""The visit by itself, driven by hand: which requests it makes, in which order, and that it does no I/O."""

import ast
from pathlib import Path

from sync_world import Site

import conjoin.sync.pulling as pulling_room
import conjoin.sync.visit as visit_room
from conjoin.sync.pulling import Outcome
from conjoin.sync.remotes import MemoryRemote
from conjoin.sync.requests import (
    Fetch,
    Held,
    Keep,
    ListFolders,
    ListNames,
    Persist,
    PullLeaves,
    Push,
    PushLeaves,
    Read,
    Request,
)
from conjoin.sync.visit import visit


def drive(site: Site, remote: MemoryRemote, *, push: bool = True) -> tuple[list[Request], Outcome]:  # noqa: C901
    """The smallest driver there is, and what it was asked for."""
    outcome, asked, answer = Outcome(), [], None
    steps = visit(site.log, outcome, push=push)
    while True:
        try:
            request = steps.send(answer)
        except StopIteration:
            return asked, outcome
        asked.append(request)
        answer = None
        match request:
            case ListNames(prefix, after):
                answer = remote.names(prefix, after)
            case ListFolders(prefix):
                answer = remote.folders(prefix)
            case Fetch(names, size_bytes_max):
                answer = [remote.get(name, size_bytes_max) for name in names]
            case Held(names):
                answer = {name for name in names if site.store.has(name)}
            case Read(name):
                answer = site.store.get(name)
            case PullLeaves(_, leaves):
                for leaf in leaves:
                    leaf.check(remote.get(leaf.name))
                    site.store.put(leaf.name, remote.get(leaf.name))
                answer = {}
            case Keep(name, data):
                site.store.put(name, data)
            case Persist(operation):
                site.persist(operation)
            case PushLeaves(_, leaves):
                for leaf in leaves:
                    remote.put(leaf.name, site.store.get(leaf.name))
                answer = {}
            case Push(name, data):
                remote.put(name, data)


def kinds(asked: list[Request]) -> list[str]:
    return [type(request).__name__ for request in asked]


def test_the_requests_of_a_pull_and_of_a_push() -> None:
    first = Site.founding("first")
    first.add("a")
    second = Site.joining("second", first)
    place = MemoryRemote()
    asked, _ = drive(first, place)
    assert kinds(asked) == [
        *["ListNames"] * 4,
        *["Held", "Read", "Held"] * 3,
        *["ListNames", "PushLeaves", "Read", "Push"],
        *["PushLeaves", "Read", "Push"] * 2,
        *["Push"] * 2,
    ]
    asked, outcome = drive(second, place, push=False)
    assert kinds(asked) == [
        *["ListNames"] * 4,
        "Fetch",
        *["Held", "Fetch", "Held", "PullLeaves", "Keep"] * 3,
        "Persist",
    ]
    assert (outcome.operations_in, outcome.missing, outcome.refused) == (1, (), [])
    assert second.ids == first.ids


def test_what_is_held_is_not_asked_for_again() -> None:
    first = Site.founding("first")
    place = MemoryRemote()
    drive(first, place)
    asked, _ = drive(first, place)
    assert not {"Fetch", "PullLeaves", "PushLeaves", "Push", "Keep", "Persist"} & set(kinds(asked))


def test_a_visit_given_up_leaves_the_log_as_it_was() -> None:
    first = Site.founding("first")
    first.add("a")
    place = MemoryRemote()
    drive(first, place)
    second = Site.joining("second", first)
    steps = visit(second.log, Outcome())
    steps.send(None)
    steps.send(place.names("fork/"))
    steps.send(place.names("ops/"))
    steps.send(place.names("seg/"))
    steps.send(place.names("manifest/"))
    steps.close()
    assert len(second.log) == 1


def test_refusals_beyond_the_limit_are_not_described(monkeypatch) -> None:
    monkeypatch.setattr(pulling_room, "REFUSALS_MAX", 2)
    first = Site.founding("first")
    for seed in "abcd":
        first.add(seed)
    place = MemoryRemote()
    drive(first, place)
    place.objects = {n: b"junk" if n.startswith("ops/") else d for n, d in place.objects.items()}
    genesis = first.log.get(first.log.space)
    place.objects[genesis.name] = genesis.envelope
    second = Site.joining("second", first)
    _, outcome = drive(second, place, push=False)
    assert len(outcome.refused) == 3
    assert "only the first 2" in outcome.refused[-1].what


def test_visit_and_requests_import_nothing_that_does_io() -> None:
    banned = {"os", "pathlib", "io", "socket", "threading", "time", "random", "asyncio", "concurrent", "subprocess"}
    for module in ("visit", "pulling", "requests", "report"):
        source = Path(visit_room.__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & banned, module
