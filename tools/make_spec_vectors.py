"""Write docs/spec/vectors/*.json from fixed seeds, or with `--check` say which of them differ; draws nothing at random.

The library computes every expected value once; people read it; tests/unit hold it fixed and recompute digests plainly.
"""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from conjoin.crdt import root_of
from conjoin.log import parse
from conjoin.testing.histories import BASE, NO_FILES, Signer, add_body, found, sample_contribution
from conjoin.wire import canonical
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import leaf_digest, merkle_root, raw, sha256, tagged
from conjoin.wire.envelope import pre_authentication_encoding
from conjoin.wire.keys import fingerprint, openssh_line
from conjoin.wire.manifest import Manifest, TensorEntry

sys.path.insert(0, str(Path(__file__).resolve().parent))
import edwards
from spec_comparisons import comparisons
from spec_differences import differences
from spec_histories import histories
from spec_peers import peers
from spec_recipes import recipes
from spec_segments import segments

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "spec" / "vectors"
P = 2**255 - 19
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
FOUNDER, MEMBER, STRANGER = Signer("founder"), Signer("member"), Signer("stranger")
GENESIS = found(FOUNDER, name="vectors")
Value = dict[str, Any]


def digests() -> Value:
    """Digests, Merkle trees, manifests, contributions, roots and seeds."""
    leaves = [b"", b"a", b"bc", b"def", b"\x00" * 32]
    merkle = [
        {"leaves_hex": [leaf.hex() for leaf in leaves[:n]], "root": merkle_root([leaf_digest(x) for x in leaves[:n]])}
        for n in (0, 1, 2, 3, 4, 5)
    ]
    tensors = (
        TensorEntry("a.weight", "BF16", (2, 3), (leaf_digest(bytes(range(12))),)),
        TensorEntry("b", "F32", (), (leaf_digest(b"\x00\x00\x80\x3f"),)),
        TensorEntry("c.empty", "I64", (0, 4), ()),
    )
    manifest = Manifest.of(tensors)
    contributions = [
        sample_contribution(0),
        sample_contribution(1, "2.5"),
        Contribution(sha256(b"w"), BASE, "0.05", {"fisher": sha256(b"f"), "activation-gram": sha256(b"g")}),
    ]
    sets = [[], [sha256(b"x")], [sha256(b"x"), sha256(b"y"), sha256(b"z")]]
    space, recipe = sha256(b"space"), sha256(b"recipe")
    seeds = []
    for visible_set in sets:
        top = root_of(visible_set)
        seed = tagged("conjoin/seed/1", raw(space), raw(top), raw(recipe))
        seeds.append({"space": space, "root": top, "recipe": recipe, "seed": seed})
    return {
        "leaf": [{"data_hex": leaf.hex(), "digest": leaf_digest(leaf)} for leaf in leaves],
        "merkle": merkle,
        "manifest": [
            {
                "canonical": manifest.encode().decode("ascii"),
                "tensor_roots": [entry.root for entry in manifest.tensors],
                "digest": manifest.digest,
            },
            {"canonical": Manifest(()).encode().decode("ascii"), "tensor_roots": [], "digest": NO_FILES},
        ],
        "contribution": [
            {"canonical": canonical.encode(c.to_json()).decode("ascii"), "digest": c.digest} for c in contributions
        ],
        "root": [{"visible": sorted(visible_set), "root": root_of(visible_set)} for visible_set in sets],
        "seed": seeds,
        "contribution_seed": {
            "space": space,
            "base": BASE,
            "recipe": recipe,
            "seed": tagged("conjoin/seed/contribution/1", raw(space), raw(BASE), raw(recipe)),
        },
    }


def canonical_json() -> Value:
    """Byte strings that are canonical JSON, and byte strings that are not, with the reason."""
    good = [
        "null",
        "true",
        "0",
        "-1",
        "9007199254740991",
        '""',
        '"é€😀"',
        '"\\b\\t\\n\\f\\r\\u0001\\"\\\\/"',
        "[]",
        "{}",
        '{"":0,"a":[1,2,{"b":null}],"aa":"x"}',
        '{"\U0001f600":1,"\ufb33":2}',
        "[" * 64 + "]" * 64,
    ]
    bad = {
        "white space": b'{"a": 1}',
        "white space at the end": b"{}\n",
        "keys out of order": b'{"b":1,"a":2}',
        "keys ordered by code point, not by UTF-16 code unit": '{"\ufb33":2,"\U0001f600":1}'.encode(),
        "duplicate keys": b'{"a":1,"a":1}',
        "duplicate keys, other values": b'{"a":1,"a":2}',
        "a float": b"1.5",
        "an integer spelled as a float": b"1.0",
        "an exponent": b"1e3",
        "minus zero": b"-0",
        "a leading zero": b"01",
        "a plus sign": b"+1",
        "an integer of 2^53": b"9007199254740992",
        "NaN": b"NaN",
        "Infinity": b"-Infinity",
        "an escape that is not needed": b'"\\u0061"',
        "an escaped slash": b'"\\/"',
        "a control character escaped the long way": b'"\\u000a"',
        "upper-case hex in an escape": b'"\\u001F"',
        "a control character as it is": b'"\n"',
        "a lone surrogate": b'"\\ud800"',
        "an escaped pair": b'"\\ud83d\\ude00"',
        "a byte order mark": b"\xef\xbb\xbf{}",
        "not UTF-8": b'"\xff"',
        "UTF-16": '{"a":1}'.encode("utf-16"),
        "an unfinished value": b'{"a":',
        "two values": b"{}{}",
        "nothing": b"",
        "single quotes": b"{'a':1}",
        "a trailing comma": b"[1,]",
        "a comment": b"{}//",
        "65 levels deep": b"[" * 65 + b"]" * 65,
        "5000 levels deep": b"[" * 5000 + b"]" * 5000,
    }
    return {
        "good": [{"hex": text.encode("utf-8").hex()} for text in good],
        "bad": [{"why": why, "hex": data.hex()} for why, data in bad.items()],
    }


def keys() -> Value:
    """Public keys that are taken, with their OpenSSH form, and encodings that are refused."""
    good = [Signer(f"key {i}").key for i in range(4)]
    small = {
        (y | sign << 255).to_bytes(32, "little").hex()
        for y in (0, 1, P - 1, P, P + 1, ORDER_8_Y, P - ORDER_8_Y)
        for sign in (0, 1)
    }
    above = {(y | sign << 255).to_bytes(32, "little").hex() for y in range(P + 2, 2**255) for sign in (0, 1)}
    off = [(y).to_bytes(32, "little").hex() for y in (2, 7, 8)]
    return {
        "good": [{"key": key, "openssh": openssh_line(key), "fingerprint": fingerprint(key)} for key in good],
        "bad": [
            *({"why": "small order, in one of its encodings", "key": key} for key in sorted(small)),
            *({"why": "y is not below p", "key": key} for key in sorted(above)),
            *({"why": "not a point of the curve", "key": key} for key in off),
            {"why": "upper case", "key": good[0].upper()},
            {"why": "31 bytes", "key": good[0][:62]},
        ],
    }


def signatures() -> Value:
    """Signatures on which verifiers differ: those of which the cofactorless equation holds, and others."""
    secret, nonce, off = (edwards.scalar(b"conjoin/spec/" + what) for what in (b"secret", b"nonce", b"off"))
    eighth = edwards.of_order_8()
    message = b"conjoin"
    good: list[Value] = []
    bad: list[Value] = []

    def put(into: list[Value], why: str, signed: tuple[str, str], text: bytes = message) -> None:
        into.append({"why": why, "key": signed[0], "signature": signed[1], "message": text.decode("ascii")})

    honest = edwards.sign(secret, nonce, message)
    put(good, "as an honest signer makes it", honest)
    put(good, "R is the identity", edwards.sign(secret, 0, message))
    for number in count(1):  # of a key with a part of order 8, one in eight holds, by chance
        if len(good) == 4 and len(bad) == 2:
            break
        text = b"conjoin %d" % number
        signed = edwards.sign(secret, nonce, text, key_off=eighth)
        whole = edwards.scalar(bytes.fromhex(signed[1])[:32], bytes.fromhex(signed[0]), text) % 8 == 0
        if whole and len(good) < 4:
            put(good, "the key has a part of order 8, and the equation holds without the cofactor", signed, text)
        elif not whole and len(bad) < 2:
            put(bad, "the key has a part of order 8, and the equation holds with the cofactor only", signed, text)
    for order in (8, 4, 2):
        moved = edwards.sign(secret, nonce, message, nonce_off=edwards.times(8 // order, eighth))
        put(bad, f"R is off by a point of order {order}: the equation holds with the cofactor only", moved)
        small = edwards.sign(secret, 0, message, nonce_off=edwards.times(8 // order, eighth))
        put(bad, f"R has order {order}, and the equation holds with the cofactor only", small)
    key, signature = honest
    commitment, answer = bytes.fromhex(signature)[:32], int.from_bytes(bytes.fromhex(signature)[32:], "little")
    put(bad, "S is not below L", (key, (commitment + (answer + edwards.L).to_bytes(32, "little")).hex()))
    identity = bytes.fromhex(edwards.sign(secret, 0, message)[1])
    for why, raw_r in (
        ("R is the identity with the sign bit set", (1 | 1 << 255).to_bytes(32, "little")),
        ("R is the identity with y = p + 1", (P + 1).to_bytes(32, "little")),
    ):
        s = edwards.scalar(raw_r, bytes.fromhex(key), message) * secret % edwards.L
        assert raw_r != identity[:32]
        put(bad, why, (key, (raw_r + s.to_bytes(32, "little")).hex()))
    put(bad, "of another message", honest, b"conjoim")
    put(bad, "of another key", (edwards.sign(off, 0, message)[0], signature))
    return {"good": good, "bad": bad}


def fields_of(**changes: Any) -> Value:
    """The fields of a good `add` by MEMBER, with changes; a change to `...` leaves the field out."""
    fields = {
        "author": MEMBER.key,
        "body": add_body(sample_contribution(0), "a title", "Apache-2.0", "2026-01-02T03:04:05Z"),
        "deps": [GENESIS.id],
        "prev": None,
        "seq": 0,
        "space": GENESIS.id,
        "type": "add",
        "version": 1,
    }
    return {name: value for name, value in {**fields, **changes}.items() if value is not ...}


def body_of(**changes: Any) -> Value:
    """The good body of `fields_of`, with changes."""
    return {**add_body(sample_contribution(0), "a title", "Apache-2.0", "2026-01-02T03:04:05Z"), **changes}


def contribution_of(**changes: Any) -> Value:
    """The good contribution of `fields_of` with changes, as a body."""
    value = {**sample_contribution(0).to_json(), **changes}
    return body_of(contribution={name: item for name, item in value.items() if item is not ...})


def spelled(payload: bytes, author: str, signature: bytes) -> str:
    """An envelope around anything."""
    return canonical.encode(
        {
            "payload": base64.b64encode(payload).decode("ascii"),
            "payloadType": "application/vnd.conjoin.operation.v1+json",
            "signatures": [{"keyid": author, "sig": base64.b64encode(signature).decode("ascii")}],
        }
    ).decode("ascii")


def signed(payload: bytes, signer: Signer = MEMBER) -> str:
    """An envelope with a true signature around any payload."""
    return spelled(payload, signer.key, signer.sign(pre_authentication_encoding(payload)))


def good_envelopes() -> Iterator[tuple[str, str]]:
    """Envelopes that can be read and verify."""
    yield "a genesis", GENESIS.envelope.decode("ascii")
    yield "an add", signed(canonical.encode(fields_of()))
    yield "titles may hold any script", signed(canonical.encode(fields_of(body=body_of(title="Ä 模型 😀 " * 25))))
    yield "no title, licence or time", signed(canonical.encode(fields_of(body=body_of(title="", license="", time=""))))
    member = {"key": STRANGER.key, "role": "admin"}
    yield "a member", signed(canonical.encode(fields_of(body=member, type="member")))
    retract = {"adds": [sha256(b"a"), sha256(b"b")]}
    retract["adds"].sort()
    yield "a retract", signed(canonical.encode(fields_of(body=retract, type="retract")))
    yield "an unknown type", signed(canonical.encode(fields_of(body={"anything": [1, "x"]}, type="key-revoke")))
    yield "a higher version", signed(canonical.encode(fields_of(body={}, version=2)))
    extras = {"activation-gram": sha256(b"g"), "fisher": sha256(b"f")}
    yield "extras and a weight", signed(canonical.encode(fields_of(body=contribution_of(extras=extras, weight="0.05"))))


def bad_payloads() -> Iterator[tuple[str, str, bytes]]:
    """Payloads that are refused although their signature is true: (code, why, payload)."""
    good = canonical.encode(fields_of())
    yield "E401", "white space", good.replace(b'"deps":', b'"deps": ')
    yield "E401", "key order", b'{"version":1,' + good[1:].replace(b',"version":1', b"")
    yield "E401", "a duplicate key", good.replace(b'"seq":0', b'"seq":0,"seq":0')
    yield "E401", "seq is a float", good.replace(b'"seq":0', b'"seq":0.0')
    yield "E401", "seq is minus zero", good.replace(b'"seq":0', b'"seq":-0')
    yield "E401", "an escape that is not needed", good.replace(b'"type":"add"', b'"type":"\\u0061dd"')
    yield "E401", "a line break at the end", good + b"\n"
    yield "E401", "a byte order mark", b"\xef\xbb\xbf" + good
    yield "E401", "not JSON", b"conjoin"
    yield "E401", "not an object", b"[]"
    yield "E401", "empty", b""
    yield "E401", "over 64 KiB", canonical.encode(fields_of(body={"x": "x" * 65_536}, type="big"))
    id_a, id_b = sorted([sha256(b"a"), sha256(b"b")])
    changes: list[tuple[str, Value]] = [
        ("a field is missing", {"version": ...}),
        ("a field is unknown", {"more": 1}),
        ("type in upper case", {"type": "Add"}),
        ("type of 33 characters", {"type": "a" * 33}),
        ("type is empty", {"type": ""}),
        ("version 0", {"version": 0}),
        ("version is true", {"version": True}),
        ("version 65536", {"version": 65_536}),
        ("body is a list", {"body": []}),
        ("seq is negative", {"seq": -1}),
        ("seq is null", {"seq": None}),
        ("seq is a million", {"seq": 1_000_000, "prev": id_a}),
        ("seq 0 with prev", {"prev": id_a}),
        ("seq 1 without prev", {"seq": 1}),
        ("prev is no digest", {"seq": 1, "prev": "x"}),
        ("deps not ascending", {"deps": [id_b, id_a]}),
        ("deps repeated", {"deps": [id_a, id_a]}),
        ("17 deps", {"deps": sorted(sha256(bytes([i])) for i in range(17))}),
        ("deps repeat prev", {"seq": 1, "prev": id_a, "deps": [id_a]}),
        ("no links at all", {"deps": []}),
        ("space is null in an add", {"space": None}),
        ("space in upper case", {"space": GENESIS.id.upper()}),
        ("title of 201 characters", {"body": body_of(title="x" * 201)}),
        ("title with an escape character", {"body": body_of(title="a\u001b[2Jb")}),
        ("title that reorders text", {"body": body_of(title="a\u202eb")}),
        ("title is a number", {"body": body_of(title=1)}),
        ("licence of 101 characters", {"body": body_of(license="x" * 101)}),
        ("time without an offset", {"body": body_of(time="2026-01-02T03:04:05")}),
        ("time with month 13", {"body": body_of(time="2026-13-02T03:04:05Z")}),
        ("body with an unknown field", {"body": body_of(more=1)}),
        ("contribution without base", {"body": contribution_of(base=...)}),
        ("contribution with a short digest", {"body": contribution_of(weights="abcd")}),
        ("an extra with a bad name", {"body": contribution_of(extras={"../x": id_a})}),
        ("extras are a list", {"body": contribution_of(extras=[])}),
        ("retract of nothing", {"type": "retract", "body": {"adds": []}}),
        ("retract not ascending", {"type": "retract", "body": {"adds": [id_b, id_a]}}),
        ("a role that is none", {"type": "member", "body": {"key": STRANGER.key, "role": "owner"}}),
    ]
    for why, change in changes:
        yield "E401", why, canonical.encode(fields_of(**change))
    for weight in ("1.0", "0", "-1", "nan", "1e3", "01", "", ".5", "+1", "1.", " 1", "١", "1" * 33):
        yield "E104", f"weight {weight!r}", canonical.encode(fields_of(body=contribution_of(weight=weight)))
    yield "E104", "weight is a number", canonical.encode(fields_of(body=contribution_of(weight=1)))
    small = {"type": "member", "body": {"key": (1).to_bytes(32, "little").hex(), "role": "member"}}
    yield "E403", "lets in a key of small order", canonical.encode(fields_of(**small))
    yield "E401", "author is not the signer", canonical.encode(fields_of(author=STRANGER.key))
    genesis = canonical.decode(GENESIS.payload) | {"author": MEMBER.key}
    policy = genesis["body"]["policy"]
    wide = {**policy, "limits": {**policy["limits"], "deps": 17}}
    tight = {**policy, "limits": {**policy["limits"], "operation_bytes": 4095}}
    for why, change in [
        ("a genesis with deps", {"deps": [id_a]}),
        ("a genesis with a space", {"space": id_a}),
        ("a genesis of version 2", {"version": 2}),
        ("a policy wider than the protocol", {"body": {**genesis["body"], "policy": wide}}),
        ("a policy too tight to write anything", {"body": {**genesis["body"], "policy": tight}}),
        ("a short nonce", {"body": {**genesis["body"], "nonce": "00"}}),
    ]:
        yield "E401", why, canonical.encode({**genesis, **change})


def bad_envelopes() -> Iterator[tuple[str, str, str]]:
    """Envelopes that are refused: (code, why, text)."""
    for code, why, payload in bad_payloads():
        yield code, f"payload: {why}", signed(payload)
    payload = canonical.encode(fields_of())
    good = signed(payload)
    true = MEMBER.sign(pre_authentication_encoding(payload))
    value = json.loads(good)
    signature64 = value["signatures"][0]["sig"]
    odd = canonical.encode(fields_of(body=body_of(title="~~~???~~~???~~")))
    changes: list[tuple[str, str]] = [
        ("white space", good.replace(":", ": ", 1)),
        ("a line break at the end", good + "\n"),
        ("key order", json.dumps({"signatures": value["signatures"], **value}, separators=(",", ":"))),
        ("a duplicate key", good.replace('{"payload":', '{"payload":"","payload":', 1)),
        ("an unknown field", canonical.encode({**value, "x": 1}).decode()),
        ("no signature", canonical.encode({**value, "signatures": []}).decode()),
        ("two signatures", canonical.encode({**value, "signatures": value["signatures"] * 2}).decode()),
        ("another payload type", good.replace("operation.v1", "operation.v2")),
        ("an escape that is not needed", good.replace('"payload"', '"p\\u0061yload"', 1)),
        ("URL-safe base64", good.replace(value["payload"], base64.urlsafe_b64encode(odd).decode("ascii"))),
        ("base64 with a line break", good.replace('"payload":"', '"payload":"\\n')),
        ("base64 without padding", good.replace('="}]', '"}]')),
        ("unused bits of base64 set", good.replace(signature64, bent(signature64))),
        ("a signature of 63 bytes", spelled(payload, MEMBER.key, true[:63])),
        ("not JSON", "conjoin"),
        ("JSON that is no object", "[]"),
        ("empty", ""),
    ]
    for why, text in changes:
        yield "E401", f"envelope: {why}", text
    yield "E403", "envelope: key in upper case", spelled(payload, MEMBER.key.upper(), true)
    for why, y in [("small order", 1), ("y is not below p", P + 1), ("not on the curve", 2)]:
        key = y.to_bytes(32, "little").hex()
        forged = canonical.encode(fields_of(author=key))
        yield "E403", f"signed by a key that is refused: {why}", spelled(forged, key, key_one_signature())
    yield "E404", "the signature of another payload", spelled(canonical.encode(fields_of(version=2)), MEMBER.key, true)
    other = STRANGER.sign(pre_authentication_encoding(payload))
    yield "E404", "the signature of another key", spelled(payload, MEMBER.key, other)
    yield "E404", "a signature of the payload alone", spelled(payload, MEMBER.key, MEMBER.sign(payload))
    assert b"-" in base64.urlsafe_b64encode(odd) or b"_" in base64.urlsafe_b64encode(odd)
    high = int.from_bytes(true[32:], "little") + GROUP_ORDER
    yield (
        "E404",
        "S is not below the group order",
        spelled(payload, MEMBER.key, true[:32] + high.to_bytes(32, "little")),
    )
    yield "E404", "a signature of zeros", spelled(payload, MEMBER.key, bytes(64))


def bent(text: str) -> str:
    """Base64 of the same bytes with an unused bit set: not canonical."""
    bits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-3] + bits[bits.index(text[-3]) | 1] + "=="


def key_one_signature() -> bytes:
    """R = the neutral point, S = 0: under the key 1 it satisfies the verification equation for every message."""
    return (1).to_bytes(32, "little") + bytes(32)


def envelopes() -> Value:
    """Single envelopes: good with what they hold, bad with the code of the refusal."""
    good = []
    for why, text in good_envelopes():
        operation = parse(text.encode("utf-8"))
        good.append({"why": why, "envelope": text, "id": operation.id, "name": operation.name, "type": operation.type})
    bad = [{"why": why, "code": code, "envelope": text} for code, why, text in bad_envelopes()]
    return {"good": good, "bad": bad}


FILES: dict[str, Callable[[], Value]] = {
    "canonical.json": canonical_json,
    "comparisons.json": comparisons,
    "differences.json": differences,
    "digests.json": digests,
    "envelopes.json": envelopes,
    "histories.json": histories,
    "keys.json": keys,
    "peers.json": peers,
    "recipe.json": recipes,
    "segments.json": segments,
    "signatures.json": signatures,
}


def texts() -> dict[str, str]:
    """The text of every vector file."""
    return {name: json.dumps(make(), indent=1, ensure_ascii=True) + "\n" for name, make in FILES.items()}


def main() -> int:
    """Write the files, or with `--check` return 1 if one of them differs from what would be written."""
    made = texts()
    if "--check" in sys.argv[1:]:
        stale = [name for name, text in made.items() if (FOLDER / name).read_text(encoding="ascii") != text]
        print(f"differ: {', '.join(stale)}" if stale else f"{len(made)} files are as they should be")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="ascii")
        print(f"wrote {name}, {len(text)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
