"""Byzantine replicas: they hold valid keys, know the protocol, and send whatever may confuse an honest one.

A liar keeps a log of its own, so that its lies fit. Its attacks are conversations that it begins; its answers to
others are honest, silent or wrong, as chance has it.
"""

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random

from conjoin.errors import ConjoinError, MissingObjectError
from conjoin.log import Operation, parse
from conjoin.store.base import read_leaf
from conjoin.sync.coding import can_code, encode_delta
from conjoin.sync.host import Host
from conjoin.sync.messages import (
    Delta,
    Found,
    Get,
    Hello,
    Holding,
    Message,
    Object,
    Offer,
    Put,
    Range,
    Refused,
    Take,
    Taken,
    Wanted,
    decode,
    encode,
)
from conjoin.testing.simulator.content import contribution
from conjoin.testing.simulator.node import Frames, Node
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, sha256
from conjoin.wire.envelope import PAYLOAD_TYPE, pre_authentication_encoding
from conjoin.wire.objects import leaf_name, manifest_name, parse_leaf

BRANCH_MAX = 4
"""Operations of a lie at a time."""
FLOOD = 120
"""Operations without ancestors in one flood."""
REPLAYED_MAX = 3_000
"""Old operations that are sent again at a time."""
LIES = 0.5
"""Share of a liar's answers that are lies."""


# ---------------------------------------------------------------------------------------------------- garbage
def _header(frame: bytes, change: Callable[[bytes], bytes]) -> bytes:
    size = struct.unpack_from(">I", frame)[0]
    header = change(frame[4 : 4 + size])
    return struct.pack(">I", len(header)) + header + frame[4 + size :]


def _flip(chance: Random, frame: bytes) -> bytes:
    at = 4 + int(chance.random() * (len(frame) - 4))  # one draw, however long a difference is packed
    return frame[:at] + bytes([frame[at] ^ (1 << chance.randrange(8))]) + frame[at + 1 :]


GARBAGE: Mapping[str, Callable[[Random, bytes], bytes]] = {
    "nothing": lambda _, __: b"",
    "noise": lambda chance, _: chance.randbytes(chance.randint(1, 300)),
    "a frame cut short": lambda chance, frame: frame[: chance.randrange(1, len(frame))],
    "a header longer than its frame": lambda _, frame: struct.pack(">I", 2**31) + frame[4:],
    "one bit flipped": _flip,
    "an unknown type": lambda _, frame: _header(frame, lambda h: h.replace(b'"type":"', b'"type":"x')),
    "an unknown field": lambda _, frame: _header(frame, lambda h: b'{"aaa":1,' + h[1:]),
    "white space": lambda _, frame: _header(frame, lambda h: h.replace(b",", b", ", 1) if b"," in h else h + b" "),
    "deep nesting": lambda _, frame: _header(frame, lambda _h: b"[" * 5000 + b"]" * 5000),
    "no UTF-8": lambda _, frame: _header(frame, lambda h: h[:-1] + b'"\xff\xfe"}'),
    "a body that reaches beyond its message": lambda _, frame: frame + b"\xff\xff\xff\xff",
    "an answer for a question": lambda _, __: encode(Wanted(("leaf/00/" + "0" * 64,))),
}
"""Frames that no honest replica sends. Those made of a question may by luck be another valid question."""


class Liar(Node):
    """A replica of an adversary."""

    def tell_lies(self, victims: Sequence[Node], replays: int) -> None:
        """One attack on one or two of `victims`; `replays`: messages in a flood of old operations."""
        victim = self._chance.choice(victims)
        attack = self._chance.choice(
            (
                lambda: self._equivocate(victims),
                lambda: self._equivocate(victims),
                lambda: self._disordered(victims),
                lambda: self._disordered(victims),
                lambda: self.begin(victim, self._offers(_envelopes(self._back_dated()))),
                lambda: self.begin(victim, self._offers(self._forged())),
                lambda: self.begin(victim, self._replayed(replays)),
                lambda: self.begin(victim, self._replayed(replays)),
                lambda: self.begin(victim, self._offers(_envelopes(self._orphans()))),
                lambda: self.begin(victim, self._rubbish()),
                lambda: self.begin(victim, self._lying_hello()),
            )
        )
        attack()

    # ------------------------------------------------------------------------------------------------ operations
    def _sealed(self, prev: Operation | None, deps: Sequence[Digest], kind: str, body: canonical.Json) -> Operation:
        """An operation of this key with any links."""
        fields = {
            "author": self.signer.key,
            "body": body,
            "deps": sorted(deps),
            "prev": None if prev is None else prev.id,
            "seq": 0 if prev is None else prev.seq + 1,
            "space": self.log.space,
            "type": kind,
            "version": 1,
        }
        return parse(self.signer.seal(canonical.encode(fields)))

    def _lie_after(self, prev: Operation | None) -> Operation:
        """A valid add after any point of its own chain; its content may be nowhere."""
        number = self._chance.randrange(10**6, 2 * 10**6)
        offered = contribution(self.disk, self.log.genesis.base, number)
        if self._chance.random() < 0.3:
            offered = replace(offered, weights=sha256(str(number).encode()))
        body = {"contribution": offered.to_json(), "license": "", "time": "", "title": f"lie {number}"}
        return self._sealed(prev, [] if prev is not None else self._let_in_by(), "add", body)

    def _mine(self) -> list[Operation]:
        return [operation for operation in self.log.operations() if operation.author == self.signer.key]

    def _let_in_by(self) -> list[Digest]:
        """What makes this key a member, so that lies are admitted."""
        letting = [o.id for o in self.log.operations() if o.type == "member" and o.body.get("key") == self.signer.key]
        return letting[:1] or [self.log.space]

    def _branch(self, points: Sequence[Operation | None], least: int = 1) -> list[Operation]:
        """At least so many operations after one of `points` of its own chain, maybe an old one."""
        prev = self._chance.choice(points)
        branch: list[Operation] = []
        for _ in range(self._chance.randint(least, BRANCH_MAX)):
            prev = self._lie_after(prev)
            branch.append(prev)
        for operation in branch:
            if self.log.offer(operation).status == "admitted":
                self.disk.put(operation.name, operation.envelope)
        return branch

    def _equivocate(self, victims: Sequence[Node]) -> None:
        """Two histories from one point, each told to another replica."""
        for victim in self._chance.sample(victims, min(2, len(victims))):
            self.begin(victim, self._offers(_envelopes(self._branch([None, *self._mine()]))))

    def _disordered(self, victims: Sequence[Node]) -> None:
        """One history, to each in two conversations at once, so that its end may arrive before its beginning."""
        known = [one for one in self._mine() if all(victim.log.has(one.id) for victim in victims)]
        branch = self._branch([None, *known], 2)
        for victim in victims:
            for part in (branch[1:], branch[:1]):
                self.begin(victim, self._offers(_envelopes(part)))

    def _back_dated(self) -> list[Operation]:
        """Operations that claim to have seen nothing but the beginning."""
        first = self._lie_after(None)
        second = self._lie_after(first)
        return [first, second] if self._chance.random() < 0.5 else [second, first]

    def _forged(self) -> list[bytes]:
        """Operations in the name of others, signed by this key or not at all."""
        found: list[bytes] = []
        for operation in self._chance.choices(self.log.operations(), k=5):
            fields = canonical.decode(operation.payload)
            fields |= {"body": {"forged": self._chance.randrange(10**6)}, "space": self.log.space, "type": "note"}
            payload = canonical.encode(fields)
            signature = self.signer.sign(pre_authentication_encoding(payload))
            signed = {"keyid": operation.author, "sig": base64.b64encode(signature).decode()}
            envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE}
            found.append(canonical.encode({**envelope, "signatures": [signed]}))
        return found

    def _orphans(self) -> list[Operation]:
        """Operations whose ancestors do not exist."""
        nowhere = [*self._let_in_by(), sha256(self._chance.randbytes(8))]
        return [self._sealed(None, nowhere, "note", {"n": number}) for number in range(FLOOD)]

    # ------------------------------------------------------------------------------------------------ conversations
    def _offers(self, envelopes: Sequence[bytes]) -> Frames:
        """Offer operations, give what is asked for as far as it is there, and say that this is all."""
        answer = yield encode(Offer(tuple(envelopes), True))
        for name in _wanted(answer)[:3]:
            if self.disk.has(name):
                inner = yield encode(Put(name, self.disk.get(name)))
                for leaf in _wanted(inner):
                    if self.disk.has(leaf):
                        yield encode(self._bent_leaf(leaf))
                yield encode(Put(name, self.disk.get(name)))
        yield encode(Take())

    def _replayed(self, messages: int) -> Frames:
        """Old operations again, in any order and twice, in several messages."""
        known = self.log.operations()
        for _ in range(messages):
            again = self._chance.choices(known, k=min(REPLAYED_MAX, 100 * len(known)))
            yield encode(Offer(tuple(operation.envelope for operation in again), False))
        if self._chance.random() < 0.5:
            yield encode(Take())

    def _rubbish(self) -> Frames:
        """Garbage of several kinds, and objects that nobody asked for."""
        real = encode(Hello(self.log.space, self._chance.randbytes(16).hex(), (Range("", "", None),)))
        for make in self._chance.sample(list(GARBAGE.values()), 4):
            yield make(self._chance, real)
        junk = self._chance.randbytes(40)
        yield encode(Offer((junk, b"", self.log.operations()[-1].envelope[:-7]), True))
        yield encode(Put(leaf_name(sha256(junk)), junk))
        yield encode(Put(manifest_name(sha256(junk)), junk))
        yield encode(Put("../key", junk))
        yield encode(Get("ops/" + junk.hex()))
        yield encode(Take())

    def _lying_hello(self) -> Frames:
        """Holdings and fingerprints that are not its own."""
        nonce = self._chance.randbytes(16).hex()
        authors = [sha256(bytes.fromhex(nonce) + bytes.fromhex(key))[:16] for key in self.log.chains()]
        held = tuple(Holding(author, ((self._chance.randrange(99), "0" * 16),)) for author in sorted(authors))
        lies = (
            Hello(self.log.space, nonce, (Range("", "", None, held),)),
            Hello(self.log.space, nonce, (Range("", "", sha256(b"lie")),)),
            Hello(self.log.space, nonce, holdings=held),
            Hello(sha256(b"elsewhere"), nonce, (Range("", "", None),)),
        )
        for hello in self._chance.sample(lies, 2):
            yield encode(hello)

    def answer(self, host: Host, frame: bytes) -> bytes | None:
        """What an honest host would answer, or nothing, or something else."""
        frame = super().answer(host, frame) or b""
        if self._chance.random() >= LIES:
            return frame
        kind = self._chance.random()
        if kind < 0.15:
            return None
        if kind < 0.45:
            return self._chance.choice(list(GARBAGE.values()))(self._chance, frame)
        return encode(self._lie(decode(frame)))

    def _lie(self, answer: Message) -> Message:
        match answer:
            case Found():
                bent = tuple(map(self._bent, answer.operations))
                forged = tuple(Holding(h.author, ((self._chance.randrange(10**6), "0" * 16),)) for h in answer.holdings)
                none = tuple(Holding(h.author, ()) for h in answer.holdings)
                ghost = (Holding("f" * 16, ((3, "1" * 16),)),)
                return self._chance.choice(
                    (
                        replace(answer, operations=bent),
                        replace(answer, operations=tuple(reversed(answer.operations))),
                        replace(answer, operations=answer.operations[1:]),
                        replace(answer, holdings=(*forged, *ghost)),
                        replace(answer, holdings=none, operations=()),
                        replace(answer, wanted=(manifest_name(self.log.genesis.base), manifest_name(sha256(b"no")))),
                    )
                )
            case Object():
                bent = self._bent(answer.data)
                return self._chance.choice(
                    (replace(answer, data=bent), Object(answer.name, bent), Refused(MissingObjectError.code, ""))
                )
            case Taken():
                return Taken(10**6, sha256(b"lie"))
            case Wanted():
                return Wanted((*answer.names, manifest_name(sha256(b"no")), leaf_name(sha256(b"no"))))
            case _:
                return Take()

    def _bent_leaf(self, name: str) -> Put:
        """A leaf as it is, bent, or as a bent difference from another one."""
        data, base = self.disk.get(name), self._chance.choice(self._leaves())
        packing = self._chance.random() < 0.3 and can_code()
        packed = encode_delta(data, read_leaf(self.disk, base), 4) if packing else None
        return Put(name, self._bent(data)) if packed is None else Put(name, self._bent(packed), Delta(base, 4))

    def _leaves(self) -> list[Digest]:
        return [leaf for name in self.disk.written if (leaf := parse_leaf(name)) is not None]

    def _bent(self, data: bytes) -> bytes:
        """The bytes, or in half of the cases bytes of the same length that differ in one bit."""
        return _flip(self._chance, b"0000" + data)[4:] if len(data) > 4 and self._chance.random() < 0.5 else data


def _envelopes(operations: Sequence[Operation]) -> list[bytes]:
    return [operation.envelope for operation in operations]


def _wanted(answer: bytes | ConjoinError) -> tuple[str, ...]:
    try:
        message = decode(answer) if isinstance(answer, bytes) else None
    except ConjoinError:
        return ()
    return message.names if isinstance(message, Wanted) else ()
