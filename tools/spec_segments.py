"""The segments of docs/spec/vectors: runs of one author's chain as one object, whole and damaged; admits nothing."""

from collections.abc import Sequence
from typing import Any

from conjoin.errors import ConjoinError
from conjoin.log import Log, Operation, draft, parse
from conjoin.log.segments import read_segment, segment_of
from conjoin.testing.histories import Signer, add_body, found, sample_contribution
from conjoin.wire.objects import SegmentName, parse_segment
from conjoin.wire.segment import SEGMENT_BYTES_MAX, SEGMENT_OPERATIONS_MAX, join_segment

Value = dict[str, Any]
FOUNDER, WRITER, OTHER = Signer("founder"), Signer("member"), Signer("other")


class Space:
    """An open space in which two authors write."""

    def __init__(self) -> None:
        self.genesis = found(FOUNDER, open=True, name="segments")
        self._log = Log.founded_by(self.genesis)
        self.chains: dict[str, list[Operation]] = {WRITER.key: [], OTHER.key: []}

    def write(self, signer: Signer, kind: str, body: Any, log: Log | None = None) -> Operation:
        """One more operation, of a chain of this space unless it is written on another log."""
        operation = parse(signer.seal(draft(log or self._log, signer.key, kind, body)))
        assert (log or self._log).offer(operation).status == "admitted"
        if log is None:
            self.chains[signer.key].append(operation)
        return operation

    def twin(self, of: Operation) -> Operation:
        """Another operation of the same author and seq."""
        seen = Log.founded_by(self.genesis)
        for operation in self._log.operations():
            if operation.author != of.author or operation.seq < of.seq:
                seen.offer(operation)
        twin = self.write(WRITER, "note", {"twin": True}, seen)
        assert (twin.seq, twin.prev) == (of.seq, of.prev)
        return twin


def text_of(operations: Sequence[Operation]) -> str:
    """The bytes of a segment, which are ASCII."""
    return join_segment(one.envelope for one in operations).decode("ascii")


def name_of(operations: Sequence[Operation], **changes: Any) -> str:
    """The name of a segment, with changes."""
    parts = {"author": operations[0].author, "first": operations[0].seq, "last": operations[-1].seq}
    return str(SegmentName(**{**parts, "id": operations[-1].id, **changes}))


def segments() -> Value:
    """Everything in the file."""
    space = Space()
    for number in range(17):
        if number % 4 == 1:
            space.write(WRITER, "add", add_body(sample_contribution(number), f"number {number}"))
        else:
            space.write(WRITER, "note", {"number": number})
        if number < 4:
            space.write(OTHER, "note", {"number": number})
    chain, other = space.chains[WRITER.key], space.chains[OTHER.key]
    return {"good": good(chain, other), "bad": bad(space, chain, other), "no_names": no_names(chain)}


def good(chain: Sequence[Operation], other: Sequence[Operation]) -> list[Value]:
    """Segments that are what their names say."""
    cases = {
        "one operation": chain[3:4],
        "several operations": chain[5:9],
        "a whole chain from its first operation on": other,
        "the end of a chain, as many as a writer puts together": chain[1:],
    }
    made: list[Value] = []
    for why, operations in cases.items():
        packed = segment_of(operations)
        assert read_segment(packed.name, packed.data) == list(operations), why
        text = packed.data.decode("ascii")
        made.append({"why": why, "name": packed.name, "text": text, "operations": [one.id for one in operations]})
    return made


def bad(space: Space, chain: Sequence[Operation], other: Sequence[Operation]) -> list[Value]:
    """Segments that are refused, with the code; the text stands so many times."""
    run = chain[1:5]
    name, lines = name_of(run), [one.envelope.decode("ascii") + "\n" for one in run]
    whole = "".join(lines)
    signature = whole.index('"sig":"') + 7
    payload = whole.index('"payload":"') + 11
    twin = space.twin(chain[2])
    wide = lines[0].replace("\n", " " * 5000 + "\n")
    least = SEGMENT_BYTES_MAX // len(wide) + 1
    assert least < SEGMENT_OPERATIONS_MAX
    cases: list[tuple[str, str, str, str, int]] = [
        ("E404", "a signature of another operation", name, swapped_signatures(lines), 1),
        ("E404", "one character of a signature", name, changed(whole, signature), 1),
        ("E401", "one character of a payload", name, changed(whole, payload), 1),
        ("E401", "cut in the middle of a line", name, "".join([lines[0][:-40] + "\n", *lines[1:]]), 1),
        ("E401", "lines end as on Windows", name, whole.replace("\n", "\r\n"), 1),
        ("E401", "a blank line in place of an operation", name, "".join([lines[0], "\n", *lines[2:]]), 1),
        ("E301", "the last operation is missing", name, "".join(lines[:-1]), 1),
        ("E301", "one in the middle is missing", name, lines[0] + "".join(lines[2:]), 1),
        ("E301", "one operation more", name, whole + chain[5].envelope.decode("ascii") + "\n", 1),
        ("E301", "no line break at the end", name, whole[:-1], 1),
        ("E301", "a line break more at the end", name, whole + "\n", 1),
        ("E301", "something after the last line break", name, whole + "x", 1),
        ("E301", "a line break at the beginning", name, "\n" + whole, 1),
        ("E301", "nothing", name, "", 1),
        ("E301", "two operations in the other order", name, "".join([lines[1], lines[0], *lines[2:]]), 1),
        ("E301", "an operation twice", name, "".join([lines[0], lines[0], *lines[2:]]), 1),
        ("E301", "an operation of another author", name, text_of([*run[:1], other[2], *run[2:]]), 1),
        ("E301", "an operation of the other branch of a fork", name, text_of([run[0], twin, *run[2:]]), 1),
        ("E301", "ends in the other branch of a fork", name_of(chain[1:3]), text_of([chain[1], twin]), 1),
        ("E301", "a genesis", name_of([space.genesis]), text_of([space.genesis]), 1),
        ("E301", "the name of another author", name_of(run, author=OTHER.key), whole, 1),
        ("E301", "the name of another last operation", name_of(run, id=run[2].id), whole, 1),
        ("E301", "the name begins one too early", name_of(run, first=0), whole, 1),
        ("E301", "the name is one too high", name_of(run, first=2, last=5), whole, 1),
        ("E301", "1,025 operations", name_of(run, last=SEGMENT_OPERATIONS_MAX + 1), lines[0], 1025),
        ("E301", "over 4 MiB", name_of(run, last=least), wide, least),
    ]
    made: list[Value] = []
    for code, why, called, text, times in cases:
        assert refusal_of(called, text * times) == code, why
        made.append({"why": why, "code": code, "name": called, "text": text, "times": times})
    return made


def no_names(chain: Sequence[Operation]) -> list[str]:
    """Names that no segment has."""
    run = chain[1:5]
    good_name = name_of(run)
    made = [
        name_of(run, first=5),
        good_name.replace("0000000001", "1"),
        good_name.replace("0000000001-", ""),
        good_name.upper().replace("SEG", "seg"),
        good_name[:-1],
        good_name + "\n",
        good_name.replace("seg/", "segments/"),
        f"seg/{run[0].author[:2]}/{good_name.removeprefix('seg/')}",
    ]
    assert not any(map(parse_segment, made))
    return made


def swapped_signatures(lines: Sequence[str]) -> str:
    """The first two operations, each with the signature of the other one."""
    first, second = (line.split('"sig":"') for line in lines[:2])
    return "".join([f'{first[0]}"sig":"{second[1]}', f'{second[0]}"sig":"{first[1]}', *lines[2:]])


def changed(text: str, place: int) -> str:
    """Text with another base64 digit at this place."""
    return text[:place] + ("B" if text[place] == "A" else "A") + text[place + 1 :]


def refusal_of(name: str, text: str) -> str:
    """The code of the error with which a segment is refused here."""
    try:
        read_segment(name, text.encode("ascii"))
    except ConjoinError as error:
        return error.code
    return ""
