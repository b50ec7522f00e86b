"""Side-cars, assets and what strategies write beside tensors: through plan, executor, receipt and check, on disk."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.unit.models import SPACE, Model, keep, noisy, read_output

import conjoin
from conjoin import kernels
from conjoin.errors import (
    BadParameterError,
    BadRoleError,
    BadSidecarError,
    MissingAssetError,
    MissingSidecarError,
    VerificationError,
    WrongAssetError,
)
from conjoin.executor import check_output, execute
from conjoin.memory import digests_of
from conjoin.plan import Plan, Recipe, make_plan
from conjoin.plan.layout import SIDE_NAME
from conjoin.store.memory import MemoryStore
from conjoin.strategies import base as registry
from conjoin.strategies.base import Asset as AssetParameter
from conjoin.strategies.base import Block, ByContribution, Made, Scope, SideCar, SideTensor, strategy
from conjoin.wire.asset import Asset, asset_file
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import Digest

LARGE = (2 << 20) + 70_017  # elements of bf16: two slices beside a side-car of F32
SHAPES = {"large": (LARGE,), "matrix": (33, 65), "scalar": ()}
Roles = registry.Annotated[tuple[str | None, ...] | None, ByContribution(choices=("plain", "odd"))]


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    """A strategy that needs everything there is; forgotten after the test."""
    before = dict(registry._REGISTRY)

    def one_odd(params: Any, weights: Any) -> None:
        if (params["role"] or ()).count("odd") > 1:
            raise BadRoleError("two contributions are odd")

    @strategy(
        scope=Scope.ELEMENTWISE,
        source="this test",
        side_cars=lambda p: (
            SideCar("score", "score"),
            SideCar("square", "square", shape=lambda s: (s[-1], s[-1]) if len(s) == 2 else None, elementwise=False),
            SideCar("rare", "score", key=lambda name: f"rare.{name}", required=False),
        ),
        side_tensors=lambda p: (SideTensor("mask", is_mask=True), SideTensor("number", is_mask=False)),
        check=one_odd,
        needs_asset=lambda p: True,
    )
    def thorough(x: Block, *, role: Roles = None, asset: AssetParameter = "") -> Made:
        """Multiply the first contribution by its score and what was learned."""
        scores = [kernels.decode(raw, x.extras["score"].format) for raw in x.extras["score"].tensors]
        whole = x.extras.get("square")
        assert (whole is None) == (len(x.shape) != 2)
        assert whole is None or len(whole.tensors[0]) == whole.shape[0] * whole.shape[1] == x.shape[-1] ** 2
        assert ("rare" in x.extras) == (x.name == "matrix")
        factor = float(x.learned["factor"]) * (2 if role and role[0] == "odd" else 1)
        made = kernels.encode(kernels.decode(x.tensors[0], x.format) * scores[0] * factor, x.out_format)
        if not x.offset:
            x.warn(f"made `{x.name}`")
        return Made(made, {"mask": kernels.pack(np.array(scores) > 1), "number": np.arange(1.0, x.count + 1)})

    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)


def extras_for(seed: int) -> dict[str, Model]:
    random = np.random.default_rng(seed)
    score = {name: random.choice(np.float32([0.5, 1, 2]), shape) for name, shape in SHAPES.items()}  # exact products
    score["rare.matrix"] = score["matrix"]
    return {"score": score, "square": {"matrix": random.random((65, 65)).astype(np.float32)}}


class World:
    """Two contributions in a store, with their side-cars."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.models = [noisy(SHAPES, seed) for seed in range(3)]
        base, *manifests = [keep(self.store, model) for model in self.models]
        self.base = base
        self.extras: dict[Digest, dict[str, Any]] = {}
        self.contributions: list[tuple[Digest, Any, str]] = []
        self.raw: dict[Digest, tuple[Model, dict[str, Model]]] = {}
        for seed, manifest in enumerate(manifests):
            beside = extras_for(seed)
            held = {name: keep(self.store, tensors) for name, tensors in beside.items()}
            one = Contribution(manifest.digest, base.digest, "1", {n: m.digest for n, m in held.items()})
            self.extras[one.digest] = held
            self.contributions.append((one.digest, manifest, "1"))
            self.raw[one.digest] = (self.models[seed + 1], beside)
        self.digests = tuple(sorted(self.raw))
        self.asset = Asset("thorough", base.digest, self.digests, {"factor": "0.5"}, {"by": "hand"})

    def plan(self, *assets: Asset, **params: Any) -> Plan:
        chosen = assets or (self.asset,)
        return make_plan(
            space=SPACE,
            base=self.base,
            files=None,
            contributions=self.contributions,
            recipe=Recipe.of("thorough", {"asset": chosen[0].digest, **params}),
            side_cars=lambda digest, name: self.extras[digest].get(name),
            assets=chosen,
        )


def test_everything_arrives_and_everything_is_written(tmp_path: Path) -> None:
    world = World()
    plan = world.plan()
    outs = []
    for threads in (1, 3):
        out = tmp_path / str(threads)
        receipt = execute(plan, world.store, out, threads=threads)
        check_output(out, receipt, plan)
        outs.append({str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert outs[0] == outs[1]
    assert {SIDE_NAME, asset_file(world.asset.digest)} <= set(outs[0])
    assert receipt.warnings == tuple(sorted(f"made `{name}`" for name in SHAPES))

    model, beside = world.raw[world.digests[0]]
    made = read_output(tmp_path / "1")
    for name in SHAPES:
        expected = model[name].astype(np.float64) * beside["score"][name] * 0.5
        assert (made[name] == expected.astype(model[name].dtype)).all()
    sides = load_file(tmp_path / "1" / SIDE_NAME)
    assert len(sides) == 2 * len(SHAPES) * 2
    for number, digest in enumerate(world.digests, 1):
        scores = world.raw[digest][1]["score"]["large"]
        assert (sides[f"mask.{digest[:32]}.large"] == np.packbits(scores > 1, bitorder="little")).all()
        assert sides[f"number.{digest[:32]}.scalar"].tolist() == [number]
    read = Asset.decode((tmp_path / "1" / asset_file(world.asset.digest)).read_bytes())
    assert read == world.asset
    assert read.digest == world.asset.digest == plan.recipe.params["asset"]


def test_memory_gives_what_the_disk_gives(tmp_path: Path) -> None:
    world = World()
    execute(world.plan(role={world.digests[0]: "odd"}), world.store, tmp_path / "out")
    models = [world.raw[d][0] for d in reversed(world.digests)]
    extras = [world.raw[d][1] for d in reversed(world.digests)]
    assert digests_of(models, base=world.models[0], extras=extras) == list(reversed(world.digests))
    sides: dict[str, Any] = {}
    made = conjoin.resolve(
        models,
        "thorough",
        base=world.models[0],
        seed=SPACE,
        extras=extras,
        asset=world.asset,
        sidecars=sides,
        role=[None, "odd"],
    )
    on_disk = read_output(tmp_path / "out")
    assert all((made[name] == on_disk[name]).all() for name in SHAPES)
    held = load_file(tmp_path / "out" / SIDE_NAME)
    assert sorted(held) == sorted(sides)
    assert all((held[name] == sides[name]).all() for name in held)


@pytest.mark.parametrize("part", [SIDE_NAME, "asset"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_changed_or_missing_file_is_found(tmp_path: Path, part: str, how: str) -> None:
    world = World()
    plan = world.plan()
    receipt = execute(plan, world.store, tmp_path / "out")
    path = tmp_path / "out" / (asset_file(world.asset.digest) if part == "asset" else part)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data) if how == "changed" else path.unlink()
    with pytest.raises(VerificationError, match=path.name):
        check_output(tmp_path / "out", receipt, plan)


def test_bad_side_cars_are_named_before_anything_is_read() -> None:
    world = World()
    first = world.digests[0]
    good = world.extras[first]["score"]
    for change, words in [
        ({"matrix": np.zeros((3, 3), np.float32)}, r"\(3, 3\), not \(33, 65\)"),
        ({"matrix": np.zeros((33, 65), np.float64)}, "one float dtype"),
        ({"large": None}, "`large` is missing"),
        ({"rare.matrix": None}, "`rare.matrix` is missing"),
    ]:
        tensors = {**extras_for(0 if world.raw[first][0] is world.models[1] else 1)["score"], **change}
        kept = {name: array for name, array in tensors.items() if array is not None}
        world.extras[first]["score"] = keep(world.store, kept)
        with pytest.raises(BadSidecarError, match=words):
            world.plan()
    world.extras[first]["score"] = good
    world.plan()
    del world.extras[first]["square"]
    with pytest.raises(MissingSidecarError) as caught:
        world.plan()
    assert caught.value.where == first
    assert "conjoin stats square" in str(caught.value)


def test_an_asset_belongs_to_one_merge() -> None:
    world = World()
    with pytest.raises(MissingAssetError, match="no asset is given"):
        Recipe.of("thorough")
    with pytest.raises(BadParameterError):
        Recipe.of("thorough", {"asset": "abc"})
    for wrong, words in [
        (replace(world.asset, strategy="dare"), "made for dare"),
        (replace(world.asset, base=Digest("0" * 64)), "made for base"),
        (replace(world.asset, contributions=world.digests[:1]), "1 of these are not in it"),
    ]:
        with pytest.raises(WrongAssetError, match=words):
            world.plan(wrong)
    plan = world.plan()
    with pytest.raises(MissingAssetError, match="was not given"):
        make_plan(
            space=SPACE, base=world.base, files=None, contributions=world.contributions, recipe=plan.recipe,
            side_cars=lambda digest, name: world.extras[digest].get(name),
        )  # fmt: skip
    other = replace(world.asset, values={"factor": "0.25"})
    assert world.plan(other).digest != plan.digest


def test_roles_are_checked_and_keyed_by_digest() -> None:
    world = World()
    role = dict.fromkeys(world.digests, "odd")
    with pytest.raises(BadRoleError):
        world.plan(role=role)
    with pytest.raises(BadParameterError, match="did you mean `odd`"):
        world.plan(role={world.digests[0]: "ood"})
    plan = world.plan(role={world.digests[1]: "odd"})
    assert plan.groups[0].params["role"] == (None, "odd")
    assert Recipe.from_json(plan.recipe.to_json()) == plan.recipe


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"format":"conjoin/asset/1"}', b"not json", b"\xff"],
)
def test_what_is_no_asset_is_refused(data: bytes) -> None:
    with pytest.raises(WrongAssetError):
        Asset.decode(data)


def test_an_asset_holds_no_floats() -> None:
    world = World()
    with pytest.raises(WrongAssetError, match="float"):
        _ = replace(world.asset, values={"factor": 0.5}).digest
    changed = world.asset.encode().replace(b'"0.5"', b'"0.6"')
    assert Asset.decode(changed).digest != world.asset.digest
    backwards = replace(world.asset, contributions=tuple(reversed(world.digests)))
    with pytest.raises(WrongAssetError, match="ascending"):
        Asset.decode(backwards.encode())
