"""Content over HTTPS and iroh on loopback: a sync with `conjoin serve`, beside plain uvicorn and httpx of these bytes.

Both HTTPS servers are processes of their own with the same certificate; both clients use four threads and take the
same objects of 4 MiB. Ours also hashes every leaf, writes it durably, and takes the operations. Rounds alternate. A
little is moved with iroh's bindings as they are shipped, which copy what they send byte by byte.
"""

import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from safetensors.numpy import save_file

from benchmarks.context import Context
from benchmarks.report import Part, Table, at_least
from conjoin.replica import Replica
from conjoin.sync.peers.certificate import client_context
from conjoin.sync.peers.ticket import Ticket, parse_ticket
from conjoin.wire.digest import LEAF_BYTES, Digest

THREADS = 4
ROUNDS = 5
LEAVES_UNMENDED = 2
_UNMENDED = """
import conjoin.sync.peers.iroh_runtime as runtime
from conjoin.apps.cli import main

runtime.mend_writer = lambda bindings: False
main()
"""
_PLAIN = """
import sys
from pathlib import Path
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

folder, certificate, port = sys.argv[1:]

def leaf(request):
    return Response(Path(folder, request.path_params["name"]).read_bytes())

app = Starlette(routes=[Route("/{name:path}", leaf)])
uvicorn.run(app, port=int(port), ssl_certfile=certificate, ssl_keyfile=certificate, http="h11", log_level="critical")
"""


def measure(context: Context) -> Part:
    """Bytes per second of a pull and of a push, verified, beside the plain ones."""
    part = Part()
    leaves = 8 if context.quick else 64
    with tempfile.TemporaryDirectory(dir=context.scratch) as name:
        folder = Path(name)
        one, two = folder / "one", folder / "two"
        Replica.init(one, _model(folder / "base.safetensors", 1), open=True).close()
        Replica.clone(one, two).close()
        with _serving(one) as both, _plain(one, both) as port:
            ticket = replace(both, iroh=None)
            lines = {"HTTPS": ticket, "iroh": replace(both, addresses=(), certificate=Digest(""))}
            pulled: dict[str, list[float]] = {line: [] for line in lines}
            pushed: dict[str, list[float]] = {line: [] for line in lines}
            plain: list[float] = []
            for turn in range(ROUNDS):
                for line, to in lines.items():
                    before = _leaves(one)
                    Replica.open(one).add(_model(folder / "theirs.safetensors", leaves), partial=True)
                    new = sorted(_leaves(one) - before)
                    pulled[line].append(_rate(leaves, lambda to=to: Replica.open(two).sync(str(to))))
                    if line == "HTTPS":
                        plain.append(_rate(leaves, lambda new=new: _fetch(port, new)))
                    Replica.open(two).add(_model(folder / "mine.safetensors", leaves), partial=True)
                    pushed[line].append(_rate(leaves, lambda to=to: Replica.open(two).sync(str(to))))
                print(f"live peers: round {turn + 1} of {ROUNDS}", flush=True)
        with _serving(one, mended=False) as both:
            Replica.open(one).add(_model(folder / "theirs.safetensors", LEAVES_UNMENDED), partial=True)
            to = replace(both, addresses=(), certificate=Digest(""))
            unmended = _rate(LEAVES_UNMENDED, lambda: Replica.open(two).sync(str(to)))
    table = Table(f"{leaves} leaves of 4 MiB over loopback, {THREADS} threads", ("", "MB/s"))
    for line in lines:
        table.rows.append([f"conjoin over {line}, pulled", median(pulled[line]) / 1e6])
        table.rows.append([f"conjoin over {line}, pushed", median(pushed[line]) / 1e6])
    table.rows.append(["conjoin over iroh, pulled, its bindings as shipped", unmended / 1e6])
    table.rows.append(["plain uvicorn and httpx", median(plain) / 1e6])
    part.tables.append(table)
    part.goals.append(at_least("pulled and verified, times plain", median(pulled["HTTPS"]) / median(plain), 0.8))
    part.goals.append(at_least("pushed and verified, times plain", median(pushed["HTTPS"]) / median(plain), 0.8))
    return part


def _model(path: Path, leaves: int) -> Path:
    """A checkpoint of new random leaves."""
    random = np.random.default_rng(secrets.randbits(64))
    size = LEAF_BYTES // 4
    names = {f"t{number}": random.standard_normal(size, np.float32) for number in range(leaves)}
    save_file(names, path)
    return path


def _leaves(replica: Path) -> set[str]:
    home = replica / ".conjoin"
    return {str(path.relative_to(home)) for path in (home / "leaf").rglob("*") if path.is_file()}


def _rate(leaves: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return leaves * LEAF_BYTES / (time.perf_counter() - began)


@contextmanager
def _serving(replica: Path, *, mended: bool = True) -> Iterator[Ticket]:
    how = ["-m", "conjoin"] if mended else ["-c", _UNMENDED]
    command = [sys.executable, *how, "-C", str(replica), "-q", "serve", "--transport", "both"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield parse_ticket(process.stdout.readline())
        finally:
            process.terminate()


@contextmanager
def _plain(replica: Path, ticket: Ticket) -> Iterator[int]:
    port = int(ticket.addresses[0].rpartition(":")[2]) + 1
    home = replica / ".conjoin"
    command = [sys.executable, "-c", _PLAIN, str(home), str(home / "local" / "certificate.pem"), str(port)]
    with subprocess.Popen(command) as process:
        try:
            time.sleep(3)
            yield port
        finally:
            process.terminate()


def _fetch(port: int, names: list[str]) -> None:
    import httpx

    with (
        httpx.Client(verify=client_context(), trust_env=False) as client,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        sizes = pool.map(lambda name: len(client.get(f"https://127.0.0.1:{port}/{name}").content), names)
        assert sum(sizes) == len(names) * LEAF_BYTES
