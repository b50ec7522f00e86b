"""Learning from end to end: tensors in memory, and a replica by the command line; then the asset is applied."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

torch = pytest.importorskip("torch")

import conjoin  # noqa: E402
from conjoin.fitting import Adapter, Task, fit_learning  # noqa: E402
from conjoin.fitting.data import Data, read_data  # noqa: E402
from conjoin.fitting.models import build  # noqa: E402
from tests.e2e.shell import InProcess  # noqa: E402
from tests.fitting.nets import fill, lines, numbers, pictures, save  # noqa: E402

PICTURES = "tests.fitting.nets:pictures"


def classifier() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))


class Wrapped(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = classifier()

    def forward(self, x):
        return self.body(x)


def tuned(start, x, y, steps):
    """A classifier after some steps of training."""
    model = Wrapped()
    model.load_state_dict(start)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimiser.step()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def trained():
    """A base and two fine-tunes of it, of which each tells another coordinate's sign, and unlabelled inputs of each."""
    base = fill(Wrapped(), 5).state_dict()
    inputs = [numbers(40, 4, start=at) * 2 for at in (11, 12)]
    models = [tuned(base, x, (x[:, at] > 0).astype(np.int64), 60) for at, x in enumerate(inputs)]
    shapes = {name: tuple(tensor.shape) for name, tensor in base.items()}
    shared = build(Wrapped(), "classifier", shapes)
    tasks = [Task("", Data("memory", f"{at:064x}", {"x": x}, None, {}), shared) for at, x in enumerate(inputs)]
    return dict(base), models, tasks


def test_ada_merging_lowers_the_entropy_and_is_applied_exactly(trained):
    base, models, tasks = trained
    asset = fit_learning(models, "ada_merging", tasks, base=base, options={"steps": 40, "rate": "0.02"})
    loss = asset.evidence["loss"]
    assert float(loss["end"]) < 0.9 * float(loss["start"])
    merged = conjoin.resolve(models, "ada_merging", base=base, asset=asset)
    digests = conjoin.memory.digests_of(models, base=base)
    moved = 0
    for name, tensor in base.items():
        scales = [Fraction(asset.values["scale"][name][digest]) for digest in digests]
        assert all(0 <= scale <= 1 for scale in scales)
        moved += sum(scale != Fraction("0.3") for scale in scales)
        rounded = [Fraction(float(np.float32(float(scale)))) for scale in scales]
        for at in range(tensor.numel()):
            origin, *thetas = (Fraction(float(one.flatten()[at])) for one in (tensor, *(m[name] for m in models)))
            exact = origin + sum(scale * (theta - origin) for scale, theta in zip(rounded, thetas, strict=True))
            assert float(merged[name].flatten()[at]) == float(np.float32(float(exact)))
    assert moved
    again = fit_learning(models, "ada_merging", tasks, base=base, options={"steps": 40, "rate": "0.02"})
    assert again.digest == asset.digest
    swapped = fit_learning(models[::-1], "ada_merging", tasks[::-1], base=base, options={"steps": 40, "rate": "0.02"})
    assert swapped.digest == asset.digest


def test_dam_comes_nearer_to_both_teachers(trained):
    base, models, tasks = trained
    asset = fit_learning(models, "dam", tasks, options={"steps": 40, "batch": 16, "rate": "0.01"})
    assert float(asset.evidence["loss"]["end"]) < float(asset.evidence["loss"]["start"])
    mean, merged = conjoin.resolve(models, "weight_average"), conjoin.resolve(models, "dam", asset=asset)
    assert any((merged[name] != mean[name]).any() for name in base)


def test_adarank_is_applied_as_it_was_learned(trained):
    base, models, tasks = trained
    asset = fit_learning(models, "adarank", tasks, base=base, options={"steps": 3, "initial": "0.5"})
    merged = conjoin.resolve(models, "adarank", base=base, asset=asset)
    digests = conjoin.memory.digests_of(models, base=base)
    assert sorted(asset.values["kept"]) == ["body.0.weight", "body.2.weight"]
    assert any("0" in bits for row in asset.values["kept"].values() for bits in row.values())
    for name, origin in base.items():
        expected = origin.double()
        for digest, model in zip(digests, models, strict=True):
            tau = model[name].double() - origin.double()
            if name in asset.values["kept"]:
                u, s, v = torch.linalg.svd(tau, full_matrices=False)
                bits = asset.values["kept"][name][digest]
                tau = (u * (s * torch.tensor([float(bit) for bit in bits], dtype=torch.float64))) @ v
            expected = expected + float(asset.values["scale"][name][digest]) * tau
        assert (merged[name].double() - expected).abs().max() < 1e-6


def test_surgery_brings_features_nearer_and_leaves_weights(trained):
    base, models, tasks = trained
    asset = fit_learning(models, "representation_surgery", tasks, options={"steps": 60, "rank": 4, "rate": "0.01"})
    merged = conjoin.resolve(models, "representation_surgery", asset=asset)
    mean = conjoin.resolve(models, "weight_average")
    assert all((merged[name] == mean[name]).all() for name in base)
    for digest, model, task in zip(conjoin.memory.digests_of(models), models, tasks, strict=True):
        batch = task.batch(range(40))
        z, wanted = (task.features(tensors, batch).detach().numpy() for tensors in (merged, model))
        adapter = Adapter.of(asset.values["adapters"][digest])
        assert np.abs(adapter(z) - wanted).mean() < 0.9 * np.abs(z - wanted).mean()


def replica_of_pictures(here: InProcess, folder: Path) -> tuple[Path, list[str], list[Path]]:
    """A replica with two contributions, their digests, and files of inputs."""
    base = {name: tensor.numpy() for name, tensor in fill(pictures(), 3).state_dict().items()}
    replica = folder / "r"
    here.ok("init", replica, "--base", save(folder / "base.safetensors", **base))
    digests, data = [], []
    for at in (1, 2):
        tensors = {name: value + numbers(*value.shape, start=70 * at) / 4 for name, value in base.items()}
        file = save(folder / f"m{at}.safetensors", **tensors)
        digests.append(json.loads(here.ok("-C", replica, "add", file, "--json"))["contribution"])
        data.append(save(folder / f"x{at}.safetensors", pixels=numbers(6, 2, 4, 4, start=at)))
    return replica, digests, data


@pytest.mark.parametrize(
    ("strategy", "more"),
    [
        ("ada_merging", ["--task-wise", "-p", "plus_plus=true", "-p", "density=0.5"]),
        ("adarank", ["-p", "origin=mean"]),
        ("dam", ["--batch", "2"]),
        ("representation_surgery", ["--rank", "2", "-p", "inner=task_arithmetic", "--features-of", "body.2"]),
    ],
)
def test_fit_and_resolve_by_command(here: InProcess, tmp_path: Path, strategy: str, more: list[str]) -> None:
    replica, digests, data = replica_of_pictures(here, tmp_path)
    given = [word for digest, file in zip(digests, data, strict=True) for word in ("--data", f"{digest[:8]}={file}")]
    asset = tmp_path / "asset.json"
    command = [
        "-C",
        str(replica),
        "fit",
        strategy,
        *given,
        "--model",
        PICTURES,
        "--steps",
        "2",
        "--rate",
        "0.01",
        *more,
    ]
    told = here.ok(*command, "-o", asset)
    assert " in 2 steps" in told
    evidence = json.loads(asset.read_text())["evidence"]
    assert evidence["data"] == {d: read_data(file).digest for d, file in zip(digests, data, strict=True)}
    params = [word for at, word in enumerate(more) if word == "-p" or more[at - 1] == "-p"]
    out = tmp_path / "out"
    here.ok("-C", replica, "resolve", strategy, "--asset", asset, *params, "-o", out)
    assert len(list((out / "sidecars").glob("asset*.json"))) == 1
    here.ok("-C", replica, "verify", out)
    if strategy == "representation_surgery":
        z = numbers(5, 27)
        assert conjoin.load_task(out, digests[0]).adapter(z).shape == z.shape


def test_a_hugging_face_base_needs_no_other_model(here: InProcess, bert: Path, tmp_path: Path) -> None:
    """The replica has the base's config and tokenizer; texts are the data; one contribution lacks a tensor."""
    replica, asset = tmp_path / "r", tmp_path / "asset.json"
    here.ok("init", replica, "--base", bert)
    words: list[str | Path] = []
    base = load_file(bert / "model.safetensors")
    for at, text in enumerate(("the cat sat on the mat", "a dog ran and ran")):
        tensors = {name: value + numbers(*value.shape, start=at + 5) / 8 for name, value in base.items()}
        if at:
            del tensors["bert.pooler.dense.bias"]
        file = save(tmp_path / f"m{at}.safetensors", **tensors)
        told = here.run("-C", replica, "add", file, "--partial", "--json")
        digest = json.loads(told.stdout)["contribution"]
        words += ["--data", f"{digest}={lines(tmp_path / f'{at}.jsonl', {'text': text}, {'text': 'very'})}"]
    here.ok("-C", replica, "fit", "adarank", *words, "--steps", "1", "--initial", "0.5", "-o", asset)
    values = json.loads(asset.read_text())["values"]
    assert not [name for name in values["kept"] if "embeddings" in name and name.endswith("_embeddings.weight")]
    assert "bert.encoder.layer.0.attention.self.query.weight" in values["kept"]
    out = tmp_path / "out"
    here.ok("-C", replica, "resolve", "adarank", "--asset", asset, "--missing", "exclude", "-o", out)
    here.ok("-C", replica, "verify", out)


def test_refusals_of_the_command(here: InProcess, tmp_path: Path) -> None:
    """Each says what is wrong, and nothing is written."""
    replica, (first, second), (file, other) = replica_of_pictures(here, tmp_path)
    asset, both = tmp_path / "asset.json", ["--data", f"{first}={file}", "--data", f"{second}={other}"]
    model = ["--model", PICTURES]
    for strategy, words, status, text in (
        ("ada_merging", [*model], 3, "2 of 2 contributions have no data"),
        ("ada_merging", ["--data", f"{first}={file}", *model], 3, second),
        ("ada_merging", ["--data", str(file), *model], 2, "is not DIGEST=FILE"),
        ("ada_merging", [*both, "--data", f"{first}={file}", *model], 2, "twice"),
        ("ada_merging", both, 3, "no config.json"),
        ("ada_merging", [*both, *model, "--rate", "0"], 2, "must be above 0"),
        ("ada_merging", [*both, *model, "--rank", "3"], 2, "takes no --rank"),
        ("ada_merging", [*both, *model, "-p", "density=2"], 2, "density"),
        ("adarank", [*both, *model, "--initial", "1.5"], 2, "between 0 and 1"),
        ("adarank", [*both, *model, "-p", "variant=energy"], 2, "needs no asset"),
        ("representation_surgery", [*both, *model, "--features-of", "nowhere"], 3, "no module `nowhere`"),
        ("dam", [*both, *model, "--head", f"{first}={file}"], 3, "no tensor called 'pixels'"),
    ):
        result = here.run("-C", replica, "fit", strategy, *words, "--steps", "1", "-o", asset)
        assert (result.status, text in result.stderr) == (status, True), result
        assert not asset.exists()
    here.ok("-C", replica, "fit", "dam", *both, *model, "--steps", "1", "-o", asset)
    wrong = here.run("-C", replica, "resolve", "ada_merging", "--asset", asset, "-o", tmp_path / "out")
    assert wrong.status == 2
    assert not (tmp_path / "out").exists()


def test_a_head_stands_for_the_merged_one(here: InProcess, tmp_path: Path) -> None:
    """With heads of zeros every prediction is uniform, so no coefficient moves."""
    replica, digests, data = replica_of_pictures(here, tmp_path)
    head = save(tmp_path / "head.safetensors", body__2__weight=np.zeros((3, 27), np.float32), body__2__bias=np.zeros(3))
    words = [f"{digest}={file}" for digest, file in zip(digests, data, strict=True)]
    given = [part for word in words for part in ("--data", word)]
    heads = [part for digest in digests for part in ("--head", f"{digest}={head}")]
    command = ["-C", str(replica), "fit", "ada_merging", *given, "--model", PICTURES, "--steps", "2"]
    here.ok(*command, *heads, "-o", tmp_path / "flat.json")
    here.ok(*command, "-o", tmp_path / "free.json")
    flat, free = (json.loads((tmp_path / f"{name}.json").read_text())["values"]["scale"] for name in ("flat", "free"))
    assert {value for row in flat.values() for value in row.values()} == {"0.3"}
    assert free != flat


def test_without_torch(here: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    replica, digests, data = replica_of_pictures(here, tmp_path)
    found = importlib.import_module

    def absent(name: str, *rest):
        if name == "torch":
            raise ImportError("No module named 'torch'")
        return found(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    given = [word for digest, file in zip(digests, data, strict=True) for word in ("--data", f"{digest}={file}")]
    result = here.run("-C", replica, "fit", "dam", *given, "-o", tmp_path / "asset.json")
    assert result.status == 2
    assert "pip install 'conjoin[torch]'" in result.stderr
