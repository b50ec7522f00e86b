"""The comparisons of docs/spec/vectors: what a replica that holds a log answers to `hello`; moves no content."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from conjoin.log import Log, Operation, draft, parse, root
from conjoin.store.memory import MemoryStore
from conjoin.sync.host import Host
from conjoin.sync.messages import Found, Hello, Holding, Point, Range, Refused, decode, encode, encode_parts
from conjoin.sync.reconcile import Comparison
from conjoin.testing.histories import Signer, found
from conjoin.wire.digest import Digest, sha256

Value = dict[str, Any]
NONCE = "5a" * 16
EVERYTHING = Range("", "", None)


class Held:
    """A log of many authors, one of whom forked and one of whom wrote a long chain."""

    def __init__(self) -> None:
        self.genesis = found(Signer("founder"), open=True, name="comparisons")
        self.log = Log.founded_by(self.genesis)
        self.few = [self.write(Signer(f"author {number}")) for number in range(36)]
        self.writer = Signer("long")
        self.long = [self.write(self.writer) for _ in range(12)]
        seen = Log.founded_by(self.genesis)
        for operation in self.long[:5]:
            seen.offer(operation)
        for number in range(3):
            self.twin = parse(self.writer.seal(draft(seen, self.writer.key, "note", {"twin": number})))
            seen.offer(self.twin)
            self.log.offer(self.twin)

    def write(self, signer: Signer) -> Operation:
        """One more operation, which names nothing but the genesis and its author's chain."""
        own = Log.founded_by(self.genesis)
        for operation in self.log.operations():
            if operation.author == signer.key:
                own.offer(operation)
        operation = parse(signer.seal(draft(own, signer.key, "note", {"number": len(self.log)})))
        assert self.log.offer(operation).status == "admitted"
        return operation


def short(hexadecimal: str) -> str:
    """A short id under the nonce."""
    return sha256(bytes.fromhex(NONCE + hexadecimal))[:16]


def point(operation: Operation) -> Point:
    """A point at an operation."""
    return operation.seq, short(operation.id)


def holding(operations: Sequence[Operation]) -> Holding:
    """A holding that points to these operations of one author."""
    return Holding(short(operations[0].author), tuple(sorted(map(point, operations))))


def questions(held: Held) -> Iterator[tuple[str, Hello]]:
    """What is asked, and why."""

    def hello(*ranges: Range, holdings: tuple[Holding, ...] = (), send: bool = True, space: str = "") -> Hello:
        return Hello(Digest(space or held.log.space), NONCE, ranges, holdings, send)

    def listed(*changes: Holding) -> tuple[Holding, ...]:
        """Everything that is held, with changes."""
        own = {one.author: one for one in whole.holdings} | {one.author: one for one in changes}
        return tuple(own[author] for author in sorted(own))

    comparison = Comparison(held.log, NONCE)
    (whole,) = comparison.opening()
    authors = [one.author for one in whole.holdings]
    parts = whole_parts(comparison)
    nobody, stranger = Digest("00" * 32), Holding(short("77" * 32), ((0, short("88" * 32)),))
    unknown = (99, short("99" * 32))
    yield "whoever asks holds nothing", hello(EVERYTHING)
    yield "both hold the same, listed", hello(whole)
    yield "both hold the same, by fingerprint", hello(*parts)
    yield "everything, by another fingerprint: in parts", hello(Range("", "", nobody), send=False)
    yield "one part of many differs: listed", hello(Range(parts[0].start, parts[0].end, nobody), *parts[1:], send=False)
    yield "a range of one author, by another fingerprint", hello(Range(authors[4], authors[5], nobody), send=False)
    yield "a range in which nobody is", hello(Range("0" * 16, "0" * 15 + "1", nobody), send=False)
    yield "a listed range leaves out two authors", hello(Range(authors[2], authors[5], None, whole.holdings[3:4]))
    behind = holding(held.long[3:4])
    yield "behind in one chain", hello(Range("", "", None, listed(behind)))
    yield "behind in one chain, and no operations are wanted", hello(Range("", "", None, listed(behind)), send=False)
    yield "knows one branch of a fork to its end", hello(holdings=(holding(held.long[-1:]),))
    yield "knows both branches, one of them not to its end", hello(holdings=(holding([held.long[8], held.twin]),))
    ahead = Holding(behind.author, (unknown,))
    yield "points to nothing that is known: ahead", hello(holdings=(ahead,))
    back = Holding(behind.author, (point(held.long[2]), point(held.long[4]), unknown))
    yield "ahead, with points further back", hello(holdings=(back,))
    first = Holding(behind.author, ((0, short("99" * 32)), unknown))
    yield "another first operation", hello(holdings=(first,))
    yield "an author whom nobody knows", hello(Range("", "", None, listed(stranger)))
    yield "nothing is asked about", hello()
    yield "another space", hello(EVERYTHING, space="ab" * 32)


def whole_parts(comparison: Comparison) -> tuple[Range, ...]:
    """Everything, in parts with the fingerprints of what is held."""
    parts, _ = comparison.compare([Range("", "", Digest("00" * 32))])
    return parts


def comparisons() -> Value:
    """Everything in the file."""
    held = Held()
    operations = list(held.log.operations())
    cases: list[Value] = []
    wanted: tuple[str, ...] = ()
    for why, question in questions(held):
        answer = Host(held.log, MemoryStore(), lambda _: None, lambda: 0).answer(question)
        assert decode(encode(question)) == question, why
        case = {"why": why, "hello_hex": encode(question).hex()}
        if isinstance(answer, Refused):
            cases.append({**case, "code": answer.code})
        else:
            assert isinstance(answer, Found), why
            wanted = wanted or answer.wanted
            given = {parse(envelope).id for envelope in answer.operations}
            cases.append(
                {
                    **case,
                    "found": json.loads(encode_parts(answer)[0][4:]),
                    "operations": [place for place, one in enumerate(operations) if one.id in given],
                }
            )
    return {
        "space": held.log.space,
        "envelopes": [one.envelope.decode("ascii") for one in operations],
        "root": root(held.log),
        "wanted": list(wanted),
        "cases": cases,
    }
