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
from benchmarks.report import Part, Table, at_least

THREADS = 4
"""Objects in flight on both sides: what `conjoin sync` does by itself."""
TENSORS, TENSOR_ELEMENTS = 16, 2 << 20
BUCKET, KEY, SECRET = "bucket", "key", "secret"

PLAIN = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from obstore.store import from_url
how, url, folder, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
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
names = os.listdir(folder) if how == 'put' else [found['path'] for page in store.list() for found in page]
with ThreadPoolExecutor(threads) as pool:
    list(pool.map(put if how == 'put' else get, names))
"""
PUT, GET = "put: ", "get: "
OURS_PUT, OURS_GET = PUT + "conjoin sync", GET + "conjoin clone"
ALONE_PUT = PUT + "obstore alone, from files"
ALONE = {
    "get": GET + "obstore alone, kept nowhere",
    "write": GET + "obstore alone, to files",
    "keep": GET + "obstore alone, to files that are durable",
}
OURS_IDLE, ALONE_IDLE = "conjoin sync, nothing to move", "obstore alone, nothing to move"
"""What starting costs, on both sides; the goals are about what comes on top."""
NOTHING, LEAVES = "nothing", "every leaf"


def measure(context: Context) -> Part:
    """Put and get the content of a base and a fine-tune, in turn with obstore; every run uses a prefix of its own."""
    peers.environment(USER, "obstore")
    base, tune, replica = context.scratch / "base", context.scratch / "tune", context.scratch / "replica"
    for seed, path in enumerate((base, tune)):
        run(module("places", path, str(seed)))
    run(conjoin("init", replica, "--base", base, "--open"))
    run(conjoin("-C", replica, "add", tune))
    leaves = context.scratch / "leaves"
    leaves.mkdir()
    for leaf in (replica / ".conjoin" / "leaf").glob("*/*"):
        (leaves / leaf.name).hardlink_to(leaf)
    size_bytes = sum(leaf.stat().st_size for leaf in leaves.iterdir())
    taken: dict[str, list[Run]] = {}
    with server(context.scratch / "served") as environment:
        for turn in range(context.runs + 1):
            figures = _turn(context.scratch, leaves, replica, environment, turn)
            if turn:  # the first one fills caches
                for name, figure in figures.items():
                    taken.setdefault(name, []).append(figure)
    return _part(taken, size_bytes, context.runs)


def _turn(scratch: Path, leaves: Path, replica: Path, environment: Mapping[str, str], turn: int) -> dict[str, Run]:
    """Every command once."""
    plain, ours = f"s3://{BUCKET}/plain-{turn}", f"s3://{BUCKET}/ours-{turn}"
    out = scratch / "out"

    def alone(how: str, folder: Path, place: str = plain) -> Run:
        words = ("-I", "-c", PLAIN, how, place, str(folder), str(THREADS))
        return run([USER / "bin" / "python", *words], environment)

    figures = {
        ALONE_PUT: alone("put", leaves),
        OURS_PUT: run(conjoin("-C", replica, "sync", ours), environment),
        OURS_IDLE: run(conjoin("-C", replica, "sync", ours), environment),
        ALONE_IDLE: alone("get", out, f"{plain}-empty"),
    }
    for how, name in ALONE.items():
        out.mkdir()
        figures[name] = alone(how, out)
        shutil.rmtree(out)
    figures[OURS_GET] = run(conjoin("clone", ours, out), environment)
    shutil.rmtree(out)
    for name in ("plain", "ours"):
        shutil.rmtree(scratch / "served" / BUCKET / f"{name}-{turn}")
    return figures


def _part(taken: Mapping[str, list[Run]], size_bytes: int, runs: int) -> Part:
    def share(ours: str, alone: str) -> float:
        turns = zip(taken[alone], taken[ALONE_IDLE], taken[ours], taken[OURS_IDLE], strict=True)
        return median((one.wall_s - idle.wall_s) / (our.wall_s - our_idle.wall_s) for one, idle, our, our_idle in turns)

    rows = []
    for name, figures in sorted(taken.items(), reverse=True):
        figure = medians(figures)
        what = LEAVES if name in {OURS_PUT, OURS_GET} else NOTHING
        speed = None if name in {OURS_IDLE, ALONE_IDLE} else round(size_bytes / 1e6 / figure.wall_s)
        rows.append([name, what, speed, *figure.cells])
    title = f"{size_bytes / 1e6:.0f} MB in leaves of 4 MiB, {THREADS} in flight, rclone as server, medians of {runs}"
    return Part(
        [Table(title, ("command", "verified", "MB/s", *RUN_COLUMNS), rows)],
        [
            at_least("put: share of the speed of obstore alone, start-up apart", share(OURS_PUT, ALONE_PUT), 0.8),
            at_least("get: the same, to durable files", share(OURS_GET, ALONE["keep"]), 0.8),
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


def checkpoint(path: Path, seed: int) -> None:
    """Write a model all of whose leaves are full."""
    import numpy as np
    from safetensors.numpy import save_file

    random = np.random.default_rng(seed)
    path.mkdir()
    tensors = {f"layer.{i}.weight": random.standard_normal(TENSOR_ELEMENTS, np.float32) for i in range(TENSORS)}
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    checkpoint(Path(sys.argv[1]), int(sys.argv[2]))
