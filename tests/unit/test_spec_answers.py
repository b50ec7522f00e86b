"""The table of docs/spec/peers.md that says what whoever is asked answers, row by row; every message is a frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.peer_world import host_of
from tests.unit.sync_world import Site

from conjoin.sync import messages
from conjoin.sync.host import Host
from conjoin.sync.messages import Delta, Get, Hello, Object, Offer, Put, Range, Take, Taken, Wanted, decode, encode
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import leaf_name, manifest_name, operation_name

PAGE = (Path(__file__).parents[2] / "docs/spec/peers.md").read_text("utf-8")


@dataclass
class Asked:
    """A host, and a writer who has one contribution that the host lacks."""

    host: Host
    site: Site
    writer: Site
    manifest: Manifest

    @property
    def name(self) -> str:
        return manifest_name(self.manifest.digest)

    @property
    def operation(self) -> bytes:
        return self.writer.log.operations()[-1].envelope

    def ask(self, question: messages.Question) -> messages.Message:
        return decode(self.host.exchange(encode(question)))

    def code(self, question: messages.Question) -> str:
        answer = self.ask(question)
        assert isinstance(answer, messages.Refused), question
        return answer.code

    def leaves(self) -> tuple[str, ...]:
        """Names of the leaves that are asked for once the operation was offered and the manifest came."""
        assert self.ask(Offer((self.operation,), last=True)) == Wanted((self.name,))
        wanted = self.ask(Put(self.name, self.manifest.encode()))
        assert isinstance(wanted, Wanted)
        return wanted.names


@pytest.fixture
def asked() -> Asked:
    return asked_with(1 << 40)


def asked_with(room: int) -> Asked:
    site = Site.founding("asked")
    writer = Site.joining("writer", site)
    writer.add("new")
    digest = Digest(writer.log.operations()[-1].body["contribution"]["weights"])
    manifest = Manifest.decode(writer.store.get(manifest_name(digest)), digest)
    return Asked(host_of(site, room=room), site, writer, manifest)


def test_a_hello_about_another_space_is_e402_and_keeps_nothing(asked: Asked) -> None:
    before = set(asked.site.store.names(""))
    assert asked.code(Hello(Digest("ab" * 32), "00" * 16)) == "E402"
    assert isinstance(asked.ask(Hello(asked.site.log.space, "00" * 16, (Range("", "", None),))), messages.Found)
    assert set(asked.site.store.names("")) == before


def test_an_offer_is_judged_and_names_manifests_at_its_end(asked: Asked) -> None:
    other = Site.founding("other").log.operations()[-1]
    first = asked.ask(Offer((asked.operation, other.envelope), last=False))
    assert first == Wanted((), ((other.id, "E402"),))
    assert asked.ask(Offer((), last=True)) == Wanted((asked.name,))
    assert len(asked.site.log) == 1


def test_what_an_offer_holds_before_an_unreadable_envelope_stays_offered(asked: Asked) -> None:
    assert asked.code(Offer((asked.operation, b"no envelope"), last=True)) == "E401"
    assert asked.ask(Offer((), last=True)) == Wanted((asked.name,))


def test_a_manifest_nobody_asked_for_is_e504(asked: Asked) -> None:
    assert asked.code(Put(asked.name, asked.manifest.encode())) == "E504"
    assert asked.leaves()
    found = asked.ask(Hello(asked.site.log.space, "00" * 16, (Range("", "", None),)))
    assert isinstance(found, messages.Found)
    assert found.wanted == ()
    assert asked.code(Put(asked.name, asked.manifest.encode())) == "E504"


def test_a_manifest_that_is_another_is_e301_and_one_without_room_e505(asked: Asked) -> None:
    assert asked.leaves()
    assert asked.code(Put(asked.name, asked.manifest.encode() + b"\n")) == "E301"
    small = asked_with(100)
    assert small.ask(Offer((small.operation,), last=True)) == Wanted((small.name,))
    assert small.code(Put(small.name, small.manifest.encode())) == "E505"


def test_a_manifest_is_kept_when_no_leaf_is_lacking_and_its_delta_is_passed_over(asked: Asked) -> None:
    for leaf in asked.leaves():
        assert not asked.site.store.has(asked.name)
        assert asked.ask(Put(leaf, asked.writer.store.get(leaf))) == Wanted(())
        assert asked.ask(Put(leaf, asked.writer.store.get(leaf))) == Wanted(())  # the answer may have been lost
    anything = Delta(Digest("ab" * 32), 3)
    assert asked.ask(Put(asked.name, asked.manifest.encode(), anything)) == Wanted(())
    assert asked.site.store.get(asked.name) == asked.manifest.encode()
    assert asked.ask(Get(asked.name, anything)) == Object(asked.name, asked.manifest.encode())


def test_a_leaf_is_taken_between_its_manifest_and_the_take(asked: Asked) -> None:
    name, *_ = leaves = asked.leaves()
    data = asked.writer.store.get(name)
    assert asked.code(Put(leaf_name(Digest("ab" * 32)), data)) == "E504"
    assert asked.code(Put(name, data + b"\0")) == "E301"
    assert asked.code(Put(name, bytes([data[0] ^ 1]) + data[1:])) == "E301"
    assert len(leaves) == 1
    taken = asked.ask(Take())
    assert isinstance(taken, Taken)
    assert taken.operations == 1
    assert asked.code(Put(name, data)) == "E504"
    assert not asked.site.store.has(name)


def test_a_take_makes_durable_without_content_and_a_second_one_takes_nothing(asked: Asked) -> None:
    asked.leaves()
    first, second = asked.ask(Take()), asked.ask(Take())
    assert isinstance(first, Taken)
    assert (first.operations, second) == (1, Taken(0, first.root))
    assert asked.site.store.has(asked.writer.log.operations()[-1].name)
    assert not asked.site.store.has(asked.name)


def test_only_content_is_given(asked: Asked) -> None:
    genesis = asked.site.log.genesis
    manifest = manifest_name(genesis.base)
    assert asked.ask(Get(manifest)) == Object(manifest, asked.site.store.get(manifest))
    operation = asked.site.log.operations()[0]
    for name in (operation_name(operation.author, 0, operation.id), "local/key", leaf_name(Digest("ab" * 32))):
        assert asked.code(Get(name)) == "E302"


def test_the_page_names_each_refusal() -> None:
    table = PAGE[PAGE.index("### What whoever is asked answers") : PAGE.index("### What whoever asks does")]
    for code in ("E301", "E302", "E402", "E504", "E505"):
        assert code in table
