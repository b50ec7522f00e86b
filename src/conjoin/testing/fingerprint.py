"""Fingerprint: a digest of what every operation, strategy and resolve gives here; equal on every machine.

    python -m conjoin.testing.fingerprint [PART ...] [--arithmetic compiled] [--elements N] [--slice N] [--vectors DIR]

It prints one line per digest. Two machines, compilers, thread counts or libraries that print other lines do not
resolve to the same bytes. The operations are also held to their golden digests, and vectors to their committed outputs.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from conjoin import kernels, memory
from conjoin.errors import BadRoleError
from conjoin.kernels import selftest
from conjoin.kernels.backend import Backend, family
from conjoin.kernels.golden import GOLDEN
from conjoin.plan import Recipe
from conjoin.strategies.base import RawArray, find_strategy, strategies
from conjoin.testing.strategy_suite import Model, assert_same, backend, choices_of, run, wild_model
from conjoin.testing.vectors import Vector

Line = tuple[str, str]
"""What was computed, and the digest of its bytes."""

ELEMENTS = 2 * kernels.BLOCK_ELEMENTS + 77


def operations(arithmetic: Backend, names: Iterable[str] = selftest.CASES) -> Iterator[Line]:
    """The self-test case of every operation; of draws and reductions too.

    Raises:
        AssertionError: a digest is not the golden one.
    """
    for name in names:
        digest = selftest.digest_of(family(arithmetic, name.partition(".")[0]), name)
        assert digest == GOLDEN[name], f"{arithmetic} {name}: {digest} is not the golden {GOLDEN[name]}"
        yield f"operation {name}", digest


def bare_settings(name: str) -> list[dict[str, str]]:
    """The settings, of the default and each choice and flag, that need no side-car, asset or role; maybe none."""
    one = find_strategy(name)
    found: list[dict[str, str]] = []
    for given in choices_of(one):
        params = one.parse(given)
        with suppress(BadRoleError):
            one.check(params, (Fraction(1),) * 3)
            if not one.side_cars(params) and not one.needs_asset(params):
                found.append(given)
    return found


def applied(
    elements: int = ELEMENTS,
    slice_elements: int = ELEMENTS,
    names: Iterable[str] | None = None,
    forms: Iterable[str] = tuple(kernels.FORMATS),
) -> Iterator[Line]:
    """Every strategy that tensors are enough for, in each of its settings, on patterns of every kind."""
    for name in strategies() if names is None else names:
        settings = bare_settings(name)
        for form in forms if settings else ():
            model = wild_model(form, 3, {"a": 1, "m": (24, 17), "w": elements})
            results = [run(find_strategy(name), model, given, slice_elements=slice_elements) for given in settings]
            yield f"strategy {name} {form}", _digest(results)


def resolved(elements: int = ELEMENTS, names: Iterable[str] | None = None) -> Iterator[Line]:
    """Every strategy that tensors are enough for through `conjoin.memory.resolve`: plan, slices, threads and all."""
    model = wild_model("F32", 4, {"layer.bias": 9, "layer.weight": elements, "head": (39, 77)})
    assert model.base is not None
    tensors = [_arrays(model.contributions[digest], model) for digest in model.digests]
    for name in strategies() if names is None else names:
        settings = bare_settings(name)
        if not settings:
            continue
        merged = memory.resolve(tensors, Recipe.of(name, settings[0]), base=_arrays(model.base, model), seed=7)
        yield f"resolve {name}", _digest([{key: array.view(np.uint32) for key, array in merged.items()}])


def vectors(folder: Path, names: Iterable[str] | None = None) -> Iterator[Line]:
    """Every vector file of a folder of folders, by strategy; side-cars, assets and roles included.

    Raises:
        AssertionError: an output is not the committed one.
    """
    wanted = None if names is None else set(names)
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and any(path.glob("*.json"))):
        if wanted is not None and place.name not in wanted:
            continue
        results: list[Mapping[str, RawArray]] = []
        for path in sorted(place.glob("*.json")):
            vector = Vector.from_json(json.loads(path.read_text()))
            results.append(run(find_strategy(vector.strategy), vector.model, vector.params, out_form=vector.out_form))
            try:
                assert_same(results[-1], vector.out)
            except AssertionError as error:
                raise AssertionError(f"{place.name}/{path.name}: {error}") from error
        yield f"vectors {place.name} ({len(results)})", _digest(results)


def _arrays(tensors: Mapping[str, RawArray], model: Model) -> dict[str, np.ndarray]:
    return {name: raw.view(np.float32).reshape(model.shape(name)) for name, raw in tensors.items()}


def _digest(results: Sequence[Mapping[str, RawArray]]) -> str:
    """SHA-256 over names and little-endian patterns."""
    state = hashlib.sha256()
    for tensors in results:
        for name, raw in sorted(tensors.items()):
            state.update(name.encode() + b"\0" + raw.astype(raw.dtype.newbyteorder("<")).tobytes())
    return state.hexdigest()


PARTS = ("operations", "strategies", "resolve")


def lines(
    parts: Sequence[str],
    arithmetic: Backend,
    elements: int = ELEMENTS,
    slice_elements: int = ELEMENTS,
    folder: Path | None = None,
) -> Iterator[Line]:
    """The chosen parts with one arithmetic, and the vectors of a folder."""
    with backend(arithmetic):
        if "operations" in parts:
            yield from operations(arithmetic)
        if "strategies" in parts:
            yield from applied(elements, slice_elements)
        if "resolve" in parts:
            yield from resolved(elements)
        if folder is not None:
            yield from vectors(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the fingerprint."""
    parser = argparse.ArgumentParser(prog="python -m conjoin.testing.fingerprint", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"what to compute, of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--arithmetic", choices=["compiled", "reference"], default="compiled")
    parser.add_argument("--elements", type=int, default=ELEMENTS, help="of the largest tensor")
    parser.add_argument("--slice", type=int, default=ELEMENTS, help="elements at once, a multiple of 65,536")
    parser.add_argument("--vectors", type=Path, help="folder with a folder of vector files per strategy")
    given = parser.parse_args(arguments)
    if not set(given.parts) <= set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    for what, digest in lines(given.parts or PARTS, given.arithmetic, given.elements, given.slice, given.vectors):
        sys.stdout.write(f"{digest} {what}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
