"""Three sites fine-tune a real transformer, meet in any order, and make the same model, which transformers loads."""

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from conftest import FROZEN, Family, pooled
from conjoin import Receipt, Replica, verify
from conjoin.errors import MismatchedTensorsError

pytestmark = pytest.mark.compat

STRATEGIES = {
    "weight_average": {},
    "linear": {"normalize": "false"},
    "task_arithmetic": {"scale": "0.4"},
    "ties": {"density": "0.3", "scale": "1"},
    "dare": {"density": "0.5", "scale": "0.4"},
    "slerp": {},
}
SHARES = {"medicine": "0.5", "cooking": "0.3", "weather": "0.2"}
"""Weights for `linear`, which is told not to normalise them."""
PARAPHRASES = [
    ("a man is playing a guitar", "someone is strumming a guitar"),
    ("the stock market fell sharply", "share prices dropped steeply"),
    ("children are running in the park", "kids run around on the playground"),
    ("the doctor prescribed antibiotics", "the physician gave her a drug against the infection"),
    ("heavy snow closed the mountain road", "the pass is shut because of snowfall"),
]


def conjoin(*arguments: object) -> dict:
    """Run the command line in a process of its own; its `--json` document."""
    command = [sys.executable, "-m", "conjoin", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass
class Sites:
    """Three replicas that have met; the third is only ever touched through the command line."""

    north: Replica
    south: Replica
    west: Path
    shared_bytes: int


@pytest.fixture(scope="module")
def sites(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    root = tmp_path_factory.mktemp("sites")
    medicine, cooking, weather = (family.tuned[topic] for topic in ("medicine", "cooking", "weather"))
    place = root / "place"
    place.mkdir()
    north = Replica.init(root / "north", base=family.base, name="sentences")
    south = Replica.clone(root / "north", root / "south")
    conjoin("clone", root / "north", root / "west")
    north.sync(place)
    south.add(cooking, title="cooking", in_place=True)
    south.sync(place)
    north.add(medicine, title="medicine", weight="1.5")
    north.sync(root / "south")
    added = conjoin("-C", root / "west", "add", weather, "--title", "weather")
    conjoin("-C", root / "west", "sync", root / "north", place)
    south.sync(place)
    south.sync(place)
    north.sync(place)
    yield Sites(north, Replica.open(root / "south"), root / "west", added["size_bytes"] - added["new_bytes"])
    shutil.rmtree(root)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for child in tmp_path.iterdir():
        with contextlib.suppress(NotADirectoryError):
            shutil.rmtree(child)


outputs: dict[str, str] = {}
"""Content digest of what each strategy made so far."""


@cache
def base_embeddings(base: Path) -> np.ndarray:
    return embed(base, [sentence for side in zip(*PARAPHRASES, strict=True) for sentence in side])


def bytes_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def embed(folder: Path, sentences: list[str], **options) -> np.ndarray:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, **options).eval()
    with torch.no_grad():
        return pooled(model, tokenizer, sentences).float().numpy()


def assert_sensible(folder: Path, base: Path, **options) -> None:
    """Every paraphrase is closer than every unrelated pair, and nothing has drifted far from the base."""
    left, right = (list(side) for side in zip(*PARAPHRASES, strict=True))
    ours = embed(folder, left + right, **options)
    theirs = base_embeddings(base)
    likeness = ours[: len(left)] @ ours[len(left) :].T
    related = likeness.diagonal()
    unrelated = likeness[~np.eye(len(left), dtype=bool)]
    assert related.min() > unrelated.max() + 0.1, (related, unrelated)
    assert (ours * theirs).sum(1).min() > 0.8


def test_all_sites_hold_the_same_set(sites: Sites) -> None:
    assert sites.north.root == sites.south.root == conjoin("-C", sites.west, "status")["root"]
    assert len(sites.north.visible) == 3
    for replica in (sites.north, sites.south, Replica.open(sites.west)):
        assert all(contribution.complete for contribution in replica.contributions())
        assert not replica.fsck().damage


def test_a_frozen_tensor_is_kept_once(sites: Sites) -> None:
    assert FROZEN == "weather"
    assert sites.shared_bytes >= 30522 * 384 * 4, "the word embeddings are those of the base"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_byte_identical_and_loadable(strategy: str, sites: Sites, family: Family, out: Path) -> None:
    shares = {info.digest: SHARES[info.title] for info in sites.north.contributions()} if strategy == "linear" else {}
    recipe = sites.north.recipe(strategy, STRATEGIES[strategy], weights=shares)
    first = sites.north.resolve(recipe, out=out / "north", threads=1)
    sites.south.resolve(recipe, out=out / "south", threads=3, memory_bytes=200_000_000)
    flags = [flag for name, value in STRATEGIES[strategy].items() for flag in ("-p", f"{name}={value}")]
    flags += [flag for digest, share in shares.items() for flag in ("--weight", f"{digest[:12]}={share}")]
    conjoin("-C", sites.west, "resolve", strategy, *flags, "-o", out / "west", "--threads", 2)
    written = bytes_of(out / "north")
    assert written == bytes_of(out / "south") == bytes_of(out / "west")
    assert {"model.safetensors", "config.json", "tokenizer.json", "conjoin.json"} <= set(written)
    assert Receipt.read(out / "west") == first
    assert verify(out / "west", sites.north).current
    assert_sensible(out / "west", family.base)
    outputs[strategy] = first.output
    # Slerp may agree with the average: fine-tunes this close to each other lie on nearly one line.
    assert len(set(outputs.values())) >= len(outputs) - ("slerp" in outputs)


def test_the_average_is_the_average(sites: Sites, family: Family, out: Path) -> None:
    """Against NumPy in float64, in canonical order, with the same weights: equal bit for bit."""
    from safetensors.numpy import load_file

    receipt = sites.north.resolve("weight_average", out=out / "average")
    merged = load_file(out / "average" / "model.safetensors")
    titles = {info.digest: info.title for info in sites.north.contributions()}
    halves = {"1.5": 3, "1": 2}
    weights = [halves[contribution["weight"]] for contribution in receipt.contributions]
    folders = [family.tuned[titles[contribution["digest"]]] for contribution in receipt.contributions]
    parts = [load_file(folder / "model.safetensors") for folder in folders]
    for name, tensor in merged.items():
        if tensor.dtype != np.float32:
            assert all((part[name] == tensor).all() for part in parts)
            continue
        summed = weights[0] * parts[0][name].astype(np.float64)
        for weight, part in zip(weights[1:], parts[1:], strict=True):
            summed = summed + weight * part[name].astype(np.float64)
        expected = (summed / sum(weights)).astype(np.float32)
        assert (expected.view(np.uint32) == tensor.view(np.uint32)).all(), name


def test_small_shards_load_and_hold_the_same_model(sites: Sites, family: Family, out: Path) -> None:
    whole = sites.north.resolve("task_arithmetic", out=out / "whole", scale="0.4")
    document = conjoin(
        "-C", sites.west, "resolve", "task_arithmetic", "-p", "scale=0.4", "--shard-size", "20MB", "-o", out / "parts"
    )
    shards = sorted((out / "parts").glob("model-*.safetensors"))
    assert len(shards) >= 3
    assert (out / "parts" / "model.safetensors.index.json").is_file()
    assert Receipt.read(out / "parts").output == whole.output == document["output"]
    assert verify(out / "parts", sites.south).current
    left = [pair[0] for pair in PARAPHRASES]
    assert (embed(out / "whole", left) == embed(out / "parts", left)).all()


def test_retracting_and_adding_again_gives_the_same_bytes(sites: Sites, family: Family, out: Path) -> None:
    before = sites.north.resolve("dare", out=out / "before")
    medicine = next(info.digest for info in sites.north.contributions() if info.title == "medicine")
    sites.north.retract(medicine)
    without = sites.north.resolve("dare", out=out / "without")
    assert sites.north.add(family.tuned["medicine"], title="again", weight="1.5").contribution == medicine
    after = sites.north.resolve("dare", out=out / "after")
    assert before.output == after.output != without.output
    assert bytes_of(out / "before") == bytes_of(out / "after")


def test_a_fine_tune_as_transformers_saves_it(sites: Sites, family: Family, tmp_path: Path, out: Path) -> None:
    """Today's transformers does not save the old `position_ids` buffer: refused with its name, or taken as partial."""
    from transformers import BertModel

    BertModel.from_pretrained(family.tuned["cooking"]).save_pretrained(tmp_path / "saved")
    replica = Replica.clone(sites.north.path, tmp_path / "reader")
    with pytest.raises(MismatchedTensorsError, match=r"embeddings\.position_ids"):
        replica.add(tmp_path / "saved")
    replica.add(tmp_path / "saved", partial=True, title="saved")
    recipe = replica.recipe("weight_average", missing="base")
    replica.resolve(recipe, out=out / "merged")
    assert_sensible(out / "merged", family.base)
