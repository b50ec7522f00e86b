"""`conjoin stats` through the command line, from two fine-tunes to merges that need their side-cars."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tests.e2e.shell import InProcess
from tests.fitting.nets import fill, lines, save

pytest.importorskip("torch")
NETS = "tests.fitting.nets"


def _tuned(base: Path, folder: Path, start: int) -> Path:
    """A fine-tune: the base with a little of our own numbers added."""
    import transformers

    shutil.copytree(base, folder)
    model = transformers.BertForSequenceClassification.from_pretrained(base)
    other = fill(transformers.BertForSequenceClassification(model.config), start)
    state = {name: (tensor + 0.25 * other.state_dict()[name]).numpy() for name, tensor in model.state_dict().items()}
    (folder / "model.safetensors").unlink()
    save(folder / "model.safetensors", **state)
    return folder


def test_from_fine_tunes_to_merges(here: InProcess, bert: Path, tmp_path: Path) -> None:
    """init, stats, add --extra, resolve: Grams, Fishers and SNIP scores made here are what the strategies take."""
    replica = tmp_path / "r"
    here.ok("init", replica, "--base", bert)
    texts = {"cats": ["the cat sat on the mat", "a cat ran"], "dogs": ["the dog ran", "a dog sat and sat", "very"]}
    grams, weights = [], []
    for place, (name, said) in enumerate(texts.items()):
        tuned = _tuned(bert, tmp_path / name, 100 * (place + 1))
        data = lines(tmp_path / f"{name}.jsonl", *({"text": text, "label": i % 3} for i, text in enumerate(said)))
        extras: list[str] = []
        for kind, more in (("gram", []), ("fisher", []), ("importance", ["--base", str(bert)])):
            file = tmp_path / f"{name}-{kind}.safetensors"
            told = here.ok("stats", kind, tuned, "--data", data, "-o", file, *more)
            assert told.splitlines()[0].startswith(f"{kind}: ")
            assert told.splitlines()[-1] == f"next: `conjoin add {tuned} --extra {kind}={file}`"
            extras += ["--extra", f"{kind}={file}"]
        here.ok("-C", replica, "add", tuned, *extras)
        grams.append({n: g.astype(np.float64) for n, g in load_file(tmp_path / f"{name}-gram.safetensors").items()})
        weights.append({n: w.astype(np.float64) for n, w in load_file(tuned / "model.safetensors").items()})

    here.ok("-C", replica, "resolve", "regression_mean", "-p", "off_diagonal=0.9", "-o", tmp_path / "merged")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    for name in grams[0]:
        shrunk = [0.9 * gram[name] + 0.1 * np.diag(np.diag(gram[name])) for gram in grams]
        whole = sum(shrunk) + 1e-6 * np.trace(sum(shrunk)) / len(shrunk[0]) * np.eye(len(shrunk[0]))
        mean = (weights[0][name] + weights[1][name]) / 2
        right = sum((w[name] - mean) @ g for w, g in zip(weights, shrunk, strict=True))
        want = mean + np.linalg.solve(whole, right.T).T
        assert np.allclose(merged[name], want, rtol=1e-4, atol=1e-5), name
    assert len(grams[0]) == 8, "six Linears of the layer, the pooler and the classifier"

    for strategy in ("fisher_merge", "led_merge"):
        here.ok("-C", replica, "resolve", strategy, "-o", tmp_path / strategy)
        differs = load_file(tmp_path / strategy / "model.safetensors")
        assert not np.array_equal(differs["classifier.weight"], merged["classifier.weight"])


def test_json_and_what_the_file_says(here: InProcess, bert: Path, tmp_path: Path) -> None:
    data = lines(tmp_path / "x.jsonl", *({"text": "the cat sat"} for _ in range(3)))
    out = tmp_path / "f.safetensors"
    told = json.loads(here.ok("stats", "fisher", bert, "--data", data, "--examples", "2", "-o", out, "--json"))
    assert told == {
        "out": str(out),
        "tensors": 25,
        "kind": "fisher",
        "data": told["data"],
        "examples": "2",
        "labels": "model",
        "notes": [],
    }
    with safe_open(out, "np") as file:
        assert file.metadata() == {
            "format": "conjoin/statistic/1",
            **{name: told[name] for name in ("kind", "data", "examples", "labels")},
        }
    again = tmp_path / "again.safetensors"
    assert here.ok("stats", "fisher", bert, "--data", data, "--examples", "2", "-o", again, "-q") == f"{again}\n"
    assert again.read_bytes() == out.read_bytes()
    refused = here.run("stats", "fisher", bert, "--data", data, "-o", out)
    assert (refused.status, "E208" in refused.stderr) == (3, True)
    assert again.read_bytes() == out.read_bytes()


def test_a_model_of_the_working_directory(here: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own code is found where the command is run, whatever `conjoin` was started from."""
    (tmp_path / "own_net_of_this_test.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x)\n"
        "def make():\n"
        "    return Net(2, 3, bias=False)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", os.getcwd())])
    save(tmp_path / "net.safetensors", weight=np.eye(3, 2, dtype=np.float32))
    x = np.array([[1, 2], [3, 4]], np.float32)
    data = save(tmp_path / "x.safetensors", x=x)
    make = ["--model", "own_net_of_this_test:make", "--data", str(data)]
    here.ok("stats", "gram", "net.safetensors", *make, "-o", "g.safetensors")
    assert np.array_equal(load_file("g.safetensors")["weight"], x.T @ x / 2)
    here.ok("stats", "features", "net.safetensors", *make, "-o", "z.safetensors")
    assert np.array_equal(load_file("z.safetensors")["features"], x)


@pytest.mark.parametrize(
    ("arguments", "code", "status", "what"),
    [
        (["importance"], "E111", 2, "there is no --base"),
        (["gram", "--labels", "given"], "E111", 2, "gram takes no --labels"),
        (["fisher", "--base", "b"], "E111", 2, "fisher takes no --base"),
        (["gram", "--features-of", "x"], "E111", 2, "gram takes no --features-of"),
        (["fishers"], "E111", 2, "fishers"),
        (["fisher", "--examples", "0"], "E111", 2, "--examples"),
        (["fisher", "--model", "nothing:here"], "E215", 3, "it cannot be imported"),
        (["fisher", "--labels", "given"], "E215", 3, "the data has no labels"),
    ],
)
def test_requests_that_are_refused(
    here: InProcess, tmp_path: Path, bert: Path, arguments: list[str], code: str, status: int, what: str
) -> None:
    data = lines(tmp_path / "x.jsonl", {"text": "the cat"})
    out = tmp_path / "out.safetensors"
    kind, *options = arguments
    refused = here.run("stats", kind, bert, "--data", data, "-o", out, *options)
    assert refused.status == status
    assert refused.stderr.startswith(f"error[{code}]: ")
    assert what in refused.stderr
    assert not out.exists()


def test_without_torch_the_hint_says_how_to_get_it(
    here: InProcess, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    data = lines(tmp_path / "x.jsonl", {"text": "the cat"})
    refused = here.run("stats", "gram", bert, "--data", data, "-o", tmp_path / "g")
    assert refused.status == 2
    assert "hint: `pip install 'conjoin[torch]'`" in refused.stderr
