"""One log of up to a million operations of one author: what it costs to sign, admit, keep and see them; no network."""

import resource
import sys
import time

from conjoin.apps.simulate.gossip import found
from conjoin.apps.simulate.report import Result, Sheet
from conjoin.log import Log, parse, views
from conjoin.progress import SILENT, Progress
from conjoin.wire import canonical
from conjoin.wire.digest import sha256


def operations(seed: int, size: int | None = None, progress: Progress = SILENT) -> Result:
    """One log of `size` operations, of which a hundredth retract: time and memory to take them in and to see them."""
    count = size or 10**6
    retractions = count // 100
    writer, reader = found(2, label=f"operations {seed}")
    progress.start("operations", count)
    signing_s = taking_s = 0.0
    before, peak_before = time.process_time(), _peak_bytes()
    log = Log(reader.log.space)
    log.offer(reader.log.get(log.space))
    prev = writer.log.get(writer.log.space)
    adds: list[str] = []
    for number in range(count - 1):
        began = time.process_time()
        retracting = number >= count - 1 - retractions
        body = (
            {"adds": [adds[number - (count - 1 - retractions)]]}
            if retracting
            else {
                "contribution": {
                    "base": writer.log.genesis.base,
                    "extras": {},
                    "weight": "1",
                    "weights": sha256(number.to_bytes(8)),
                },
                "license": "",
                "time": "",
                "title": "",
            }
        )
        fields = {
            "author": writer.signer.key,
            "body": body,
            "deps": [],
            "prev": prev.id,
            "seq": prev.seq + 1,
            "space": log.space,
            "type": "retract" if retracting else "add",
            "version": 1,
        }
        envelope = writer.signer.seal(canonical.encode(fields))
        middle = time.process_time()
        prev = parse(envelope)
        log.offer(prev)
        adds += [] if retracting else [prev.id]
        signing_s, taking_s = signing_s + middle - began, taking_s + time.process_time() - middle
        progress.advance(1)
    began = time.process_time()
    visible = len(views.visible(log))
    seeing_s = time.process_time() - began
    rows = (
        ("signing and checking it", f"{signing_s:,.1f} s"),
        ("reading, verifying and admitting", f"{taking_s:,.1f} s"),
        ("the visible set", f"{seeing_s:,.1f} s"),
        ("in all", f"{time.process_time() - before:,.1f} s of CPU"),
        ("memory", f"{(_peak_bytes() - peak_before) / 1e6:,.0f} MB more than before"),
    )
    facts = {"operations": len(log), "retractions": retractions, "visible": visible}
    holds = len(log) == count and visible == count - 1 - 2 * retractions
    return Result("operations", holds, facts, (Sheet("One log of many operations", ("what", "figure"), rows),))


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
