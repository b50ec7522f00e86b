"""Content to and from a bucket that rclone serves on loopback, verified, against obstore alone with the same bytes."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks import peers
from benchmarks.context import Context
from benchmarks.measure import RUN_COLUMNS, USER, Run, conjoin, medians, module, run
from benchmarks.report import Cell, Part, Table, at_least

THREADS = 4
"""Objects in flight on both sides: what `conjoin sync` does by itself."""
TENSORS, TENSOR_ELEMENTS = 16, 2 << 20
BUCKET, KEY, SECRET = "bucket", "key", "secret"

PLAIN = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from obstore.store import from_url
how, url, folder, threads, named = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
store = from_url(url, client_options={'allow_http': True})
def put(name):
    with open(os.path.join(folder, name), 'rb') as file:
        store.put(name, file.read(), use_multipart=False)
def get(name):
    data = store.get(name).bytes()
    if how == 'get':
        return
    path = os.path.join(folder, name)
    with open(path, 'wb') as file:
        file.write(data)
        if how == 'keep':
            file.flush()
            os.fsync(file.fileno())
with ThreadPoolExecutor(threads) as pool:
    list(pool.map(put if how == 'put' else get, os.listdir(named)))
"""
PUT, GET = "put: ", "get: "
OURS_PUT, OURS_GET = PUT + "conjoin sync", GET + "conjoin clone"
ALONE_PUT = PUT + "obstore alone, from files"
ALONE = {
    "get": GET + "obstore alone, kept nowhere",
    "write": GET + "obstore alone, to files",
    "keep": GET + "obstore alone, to files that are durable",
}
IDLE = ", almost nothing to move"
"""What starting costs: the same commands on a model of one small tensor, and obstore with no object at all."""
LEAVES = {OURS_PUT: "every leaf", OURS_GET: "every leaf"}


def measure(context: Context) -> Part:
    """Put and get the content of a base and a fine-tune, in turn with obstore; every run uses a prefix of its own.

    obstore alone is told the names of what it gets: a listing makes this server read everything for its MD5.
    """
    peers.environment(USER, "obstore")
    for name, tensors, elements in (("full", TENSORS, TENSOR_ELEMENTS), ("tiny", 1, 16)):
        base, tune, replica = (context.scratch / f"{name}-{what}" for what in ("base", "tune", "replica"))
        for seed, path in enumerate((base, tune)):
            run(module("places", path, str(seed), str(tensors), str(elements)))
        run(conjoin("init", replica, "--base", base, "--open"))
        run(conjoin("-C", replica, "add", tune))
    leaves = context.scratch / "leaves"
    leaves.mkdir()
    (context.scratch / "none").mkdir()
    for leaf in (context.scratch / "full-replica" / ".conjoin" / "leaf").glob("*/*"):
        (leaves / leaf.name).hardlink_to(leaf)
    size_bytes = sum(leaf.stat().st_size for leaf in leaves.iterdir())
    taken: dict[str, list[Run]] = {}
    with server(context.scratch / "served") as environment:
        for turn in range(context.runs + 1):
            figures = _turn(context.scratch, environment, turn)
            if turn:  # the first one fills caches
                for name, figure in figures.items():
                    taken.setdefault(name, []).append(figure)
    return _part(taken, size_bytes, context.runs)


def _turn(scratch: Path, environment: Mapping[str, str], turn: int) -> dict[str, Run]:
    """Every command once, on everything and on almost nothing."""
    out = scratch / "out"
    figures: dict[str, Run] = {}

    def alone(how: str, named: Path, place: str) -> Run:
        out.mkdir()
        words = ("-I", "-c", PLAIN, how, place, str(named if how == "put" else out), str(THREADS), str(named))
        figure = run([USER / "bin" / "python", *words], environment)
        shutil.rmtree(out)
        return figure

    for what, named, suffix in (("full", scratch / "leaves", ""), ("tiny", scratch / "none", IDLE)):
        plain, ours = (f"s3://{BUCKET}/{whose}-{what}-{turn}" for whose in ("plain", "ours"))
        figures[ALONE_PUT + suffix] = alone("put", named, plain)
        figures[OURS_PUT + suffix] = run(conjoin("-C", scratch / f"{what}-replica", "sync", ours), environment)
        for how, name in ALONE.items():
            figures[name + suffix] = alone(how, named, plain)
        figures[OURS_GET + suffix] = run(conjoin("clone", ours, out), environment)
        shutil.rmtree(out)
    shutil.rmtree(scratch / "served" / BUCKET)
    (scratch / "served" / BUCKET).mkdir()
    return figures


def _part(taken: Mapping[str, list[Run]], size_bytes: int, runs: int) -> Part:
    def share(ours: str, alone: str) -> float:
        turns = zip(taken[alone], taken[alone + IDLE], taken[ours], taken[ours + IDLE], strict=True)
        return median((one.wall_s - idle.wall_s) / (our.wall_s - our_idle.wall_s) for one, idle, our, our_idle in turns)

    def whole(ours: str, alone: str) -> float:
        return median(one.wall_s / our.wall_s for one, our in zip(taken[alone], taken[ours], strict=True))

    rows = []
    for name, figures in sorted(taken.items(), reverse=True):
        figure = medians(figures)
        speed = None if name.endswith(IDLE) else round(size_bytes / 1e6 / figure.wall_s)
        rows.append([name, LEAVES.get(name, "nothing"), speed, *figure.cells])
    put, get = share(OURS_PUT, ALONE_PUT), share(OURS_GET, ALONE["keep"])
    shares: list[list[Cell]] = [
        ["put", whole(OURS_PUT, ALONE_PUT), put],
        ["get, to durable files", whole(OURS_GET, ALONE["keep"]), get],
    ]
    title = f"{size_bytes / 1e6:.0f} MB in leaves of 4 MiB, {THREADS} in flight, rclone as server, medians of {runs}"
    return Part(
        [
            Table(title, ("command", "verified", "MB/s", *RUN_COLUMNS), rows),
            Table("share of the speed of obstore alone", ("", "whole processes", "start-up apart"), shares),
        ],
        [
            at_least("put: share of the speed of obstore alone, start-up apart", put, 0.8),
            at_least("get: the same, to durable files", get, 0.8),
        ],
    )


@contextmanager
def server(folder: Path) -> Generator[dict[str, str]]:
    """A folder served as S3 by rclone on loopback; gives what a client of it has in its environment."""
    (folder / BUCKET).mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    rclone = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
    words = ["serve", "s3", "--addr", f"127.0.0.1:{port}", "--config", "", "--auth-key", f"{KEY},{SECRET}"]
    process = subprocess.Popen(
        [rclone, *words, "--dir-cache-time", "1s", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            if not socket.socket().connect_ex(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
    finally:
        process.kill()
        process.wait()


def checkpoint(path: Path, seed: int, tensors: int, elements: int) -> None:
    """Write a model of random float32; all leaves are full where `elements` is a multiple of 2²⁰."""
    import numpy as np
    from safetensors.numpy import save_file

    random = np.random.default_rng(seed)
    path.mkdir()
    model = {f"layer.{i}.weight": random.standard_normal(elements, np.float32) for i in range(tensors)}
    save_file(model, path / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    checkpoint(Path(sys.argv[1]), *map(int, sys.argv[2:]))
