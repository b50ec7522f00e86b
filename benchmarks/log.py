"""What a long log costs: to open a replica and to clone from a place, as single objects and as segments; verified."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.context import Context
from benchmarks.report import Part, Table, at_most
from conjoin import Replica
from conjoin.log import Operation
from conjoin.log.operation import read_payload
from conjoin.store.keys import SigningKey, create_key
from conjoin.testing.histories import sample_contribution
from conjoin.wire import canonical
from conjoin.wire.envelope import seal, unseal, verify

CPU_S_MAX = 15.0
"""Goal for 100,000 operations."""


def measure(context: Context) -> Part:
    """One author, operations of the size of an add; each figure is of one run, in CPU and wall seconds."""
    count = 5_000 if context.quick else 100_000
    base = context.scratch / "base"
    base.mkdir()
    save_file({"w": np.zeros(4, np.float32)}, base / "model.safetensors")
    key = create_key(context.scratch / "key")
    replica = Replica.init(context.scratch / "replica", base, key=key.path, open=True)
    home = replica.path / ".conjoin"
    operations = _chain(replica.log.get(replica.space), key, count)
    for operation in operations:
        (home / operation.name).write_bytes(operation.envelope)
    single = context.scratch / "single"
    shutil.copytree(home, single, ignore=shutil.ignore_patterns("local"))
    rows = {"signatures alone": _timed(lambda: [_verify(operation.envelope) for operation in operations])}
    rows["open, single objects"] = _timed(lambda: Replica.open(replica.path))
    rows["pack (`conjoin gc`)"] = _timed(lambda: Replica.open(replica.path).gc())
    rows["open, segments"] = _timed(lambda: Replica.open(replica.path))
    (packed := context.scratch / "packed").mkdir()
    Replica.open(replica.path).sync(packed)
    for name, place in (("single objects", single), ("segments", packed)):
        rows[f"clone, {name}"] = _timed(lambda place=place: Replica.clone(place, context.scratch / "clone"))
        shutil.rmtree(context.scratch / "clone")
    table = Table(
        f"a log of {count:,} operations of one author, seconds",
        ("what", "CPU", "wall", "µs CPU an operation"),
        [[name, cpu, wall, cpu / count * 1e6] for name, (cpu, wall) in rows.items()],
    )
    objects = Table(
        "objects in a place",
        ("place", "operations and segments", "kB"),
        [[place.name, *_objects(place)] for place in (single, packed)],
    )
    scaled = rows["open, segments"][0] * 100_000 / count
    return Part([table, objects], [at_most("cold verification of 100,000 operations, CPU s", scaled, CPU_S_MAX)])


def _chain(genesis: Operation, key: SigningKey, count: int) -> list[Operation]:
    """A chain of adds of different contributions after a genesis of the same key."""
    found = [genesis]
    for seq in range(1, count):
        contribution = sample_contribution(seq)
        body = {
            "contribution": {**contribution.to_json(), "base": genesis.body["base"]},
            "license": "MIT",
            "time": "2026-01-01T00:00:00Z",
            "title": f"number {seq}",
        }
        fields = {"author": key.public, "body": body, "deps": [], "prev": found[-1].id, "seq": seq}
        payload = canonical.encode({**fields, "space": genesis.id, "type": "add", "version": 1})
        found.append(read_payload(payload, seal(payload, key.public, key.sign)))
    return found[1:]


def _verify(envelope: bytes) -> None:
    verify(*unseal(envelope))


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _objects(place: Path) -> tuple[int, float]:
    files = [path for kind in ("ops", "seg") for path in (place / kind).rglob("*") if path.is_file()]
    return len(files), sum(os.stat(path).st_size for path in files) / 1e3
