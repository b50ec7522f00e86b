"""Hold another instruction set to our bytes: the same digests, self-tests and vectors on aarch64 as here.

    python tools/aarch64 [--emulate-compiler] [--processor NAME ...]

The kernels are compiled for aarch64 by the LLVM of this machine, which takes a tenth of the time, and run under
qemu-user; with --emulate-compiler LLVM too runs under emulation. qemu does IEEE 754 in software, so this proves the
code that is generated and that no library of the machine is asked, not a piece of silicon.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from machine import CannotError, Machine

HERE = Path(__file__).resolve().parents[2]
SOURCE = HERE / "src"
CACHE = HERE / ".aarch64"
TRIPLE = "aarch64-unknown-linux-gnu"
PROCESSORS = {"generic": "+neon", "neoverse-n1": "", "neoverse-v1": "", "apple-m1": ""}
"""Names that LLVM knows, with the features asked for besides."""

FINGERPRINT = ["-m", "conjoin.testing.fingerprint", "--vectors", str(HERE / "tests/vectors")]
MACHINE_CODE = ["-m", "conjoin.testing.machine_code"]
ELEMENTS = "70001"


def main() -> int:
    """Run both and compare; 0 same, 1 different, 3 not possible here."""
    parser = argparse.ArgumentParser(prog="tools/aarch64", description=__doc__)
    parser.add_argument("--emulate-compiler", action="store_true", help="let LLVM run under emulation too")
    parser.add_argument("--processor", action="append", choices=PROCESSORS, help="compile for it; generic if left out")
    given = parser.parse_args()
    try:
        machine = Machine(CACHE)
        if not machine.is_prepared():
            tell("fetching the emulated machine into .aarch64, once: a minute or two")
            machine.prepare()
    except CannotError as error:
        print(f"aarch64 cannot be tested here: {error}", file=sys.stderr)
        return 3
    with TemporaryDirectory(prefix="conjoin-aarch64-") as folder:
        return compare(machine, Path(folder), given.processor or ["generic"], emulate=given.emulate_compiler)


def compare(machine: Machine, folder: Path, processors: list[str], *, emulate: bool) -> int:
    """Whether every emulated run prints what this machine prints."""
    signatures = folder / "signatures"
    tell("computing the digests here, and those of the reference under emulation")
    with machine.python(SOURCE, [*FINGERPRINT, "operations", "--arithmetic", "reference"], {}) as reference:
        try:
            here([*MACHINE_CODE, "record", str(signatures)], {})
            expected = here([*FINGERPRINT, "--elements", ELEMENTS], {}).splitlines()
            same = [report("reference", finished(reference), expected)]
        finally:
            reference.kill()
    for name in processors:
        settings = {
            "NUMBA_CPU_NAME": name,
            "NUMBA_CPU_FEATURES": PROCESSORS[name],
            "NUMBA_CACHE_DIR": str(folder / name),
        }
        tell(f"compiling for {name}, then running it under emulation: some minutes")
        if not emulate:
            here([*MACHINE_CODE, "compile", str(signatures), "--triple", TRIPLE], settings)
        with machine.python(SOURCE, [*FINGERPRINT, "--elements", ELEMENTS], settings) as run:
            same.append(report(f"compiled for {name}", finished(run), expected))
    return 0 if all(same) else 1


def tell(what: str) -> None:
    """Say what takes so long."""
    print(f"aarch64: {what}", file=sys.stderr, flush=True)


def here(arguments: list[str], settings: Mapping[str, str]) -> str:
    """What this machine's Python prints; it has to succeed."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), **settings}
    done = subprocess.run([sys.executable, *arguments], env=environment, text=True, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed on this machine:\n{done.stdout}")
    return done.stdout


def finished(process: subprocess.Popen[str]) -> list[str]:
    """The lines of an emulated run; one more where it failed."""
    printed, _ = process.communicate()
    return [*printed.splitlines(), *([f"exit status {process.returncode}"] if process.returncode else [])]


def report(what: str, lines: list[str], expected: list[str]) -> bool:
    """Say which digests differ; the reference computes a part of what is expected, and the same in both."""
    others = [line for line in lines if line not in expected]
    for line in others:
        print(f"aarch64, {what}: differs: {line}")
    print(f"aarch64, {what}: {len(lines) - len(others)} of {len(lines)} digests are those of this machine")
    return bool(lines) and not others


if __name__ == "__main__":
    sys.exit(main())
