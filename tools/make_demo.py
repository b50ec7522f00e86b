"""Train the small checkpoint family that `conjoin demo` ships; needs torch and scikit-learn, downloads nothing.

    python tools/make_demo.py            write src/conjoin/apps/demo/data/ again
    python tools/make_demo.py --check    train again and say whether the shipped files would change

The data are the 8×8 handwritten digits that scikit-learn carries (UCI, Alpaydin and Kaynak 1998, CC BY 4.0; NOTICE).
The base sees a part of the training rows for a short time, so that it knows all ten digits badly. Each site then
tunes it on its own digits only and gets good at those while it forgets others, which is what makes merging worth while.
Training on another CPU or torch version gives slightly other weights: the shipped files are what counts, and their
digests are written beside them.
"""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

DATA = Path(__file__).parents[1] / "src" / "conjoin" / "apps" / "demo" / "data"
SITES = {"north": range(0, 4), "south": range(4, 7), "west": range(7, 10)}
LATER = {"east": range(5, 10), "centre": range(1, 6)}
"""Sites of `conjoin demo federation` besides."""
TEST_ROWS = 360
BASE_ROWS = 400
BASE_STEPS, BASE_RATE = 60, 0.03
TUNE_STEPS, TUNE_RATE = 40, 0.01
BATCH_ROWS = 32
OTHER_DIGITS_PENALTY = 3.0
"""Subtracted from the logits of digits a site does not have, so that it unlearns them gently and not at once."""


def classifier() -> torch.nn.ModuleDict:
    """A fresh 64-128-64-10 network; always the same one."""
    torch.manual_seed(0)
    return torch.nn.ModuleDict(
        {"fc1": torch.nn.Linear(64, 128), "fc2": torch.nn.Linear(128, 64), "fc3": torch.nn.Linear(64, 10)}
    )


def logits(model: torch.nn.ModuleDict, rows: torch.Tensor) -> torch.Tensor:
    """Forward pass: rows (n, 64) scaled to 0..1 → logits (n, 10)."""
    hidden = torch.relu(model["fc1"](rows))
    return model["fc3"](torch.relu(model["fc2"](hidden)))


def train(
    model: torch.nn.ModuleDict,
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    steps: int,
    rate: float,
    seed: int,
    digits: range = range(10),
) -> None:
    """Train `model` in place on rows of `pixels` (n, 64) with `labels` (n,)."""
    draw = np.random.default_rng(seed)
    rows, target = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels.astype(np.int64))
    penalty = torch.full((10,), -OTHER_DIGITS_PENALTY)
    penalty[list(digits)] = 0.0
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for _ in range(steps):
        batch = torch.from_numpy(draw.integers(0, len(target), BATCH_ROWS))
        loss = torch.nn.functional.cross_entropy(logits(model, rows[batch]) + penalty, target[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def accuracy(model: torch.nn.ModuleDict, pixels: np.ndarray, labels: np.ndarray, digits: range = range(10)) -> float:
    """Share of the rows with one of `digits` that `model` reads correctly."""
    rows = np.isin(labels, list(digits))
    with torch.no_grad():
        found = logits(model, torch.tensor(pixels[rows] / 16, dtype=torch.float32)).argmax(1).numpy()
    return float((found == labels[rows]).mean())


def save(model: torch.nn.ModuleDict, path: Path) -> None:
    """Write the weights as F32 safetensors."""
    save_file({name: value.detach().numpy().copy() for name, value in model.state_dict().items()}, path)


def make(folder: Path) -> None:
    """Train everything and write the files into `folder`, which exists."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    digits = load_digits()
    pixels, labels = digits.data.astype(np.uint8), digits.target.astype(np.uint8)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, labels, test_size=TEST_ROWS, stratify=labels, random_state=0
    )
    base = classifier()
    train(base, train_x[:BASE_ROWS], train_y[:BASE_ROWS], steps=BASE_STEPS, rate=BASE_RATE, seed=1)
    save(base, folder / "base.safetensors")
    print(f"base   all digits {accuracy(base, test_x, test_y):.3f}")
    mean = {name: torch.zeros_like(value) for name, value in base.state_dict().items()}
    for number, (site, own) in enumerate({**SITES, **LATER}.items()):
        tuned = classifier()
        tuned.load_state_dict(base.state_dict())
        rows = np.isin(train_y, list(own))
        train(tuned, train_x[rows], train_y[rows], steps=TUNE_STEPS, rate=TUNE_RATE, seed=10 + number, digits=own)
        save(tuned, folder / f"{site}.safetensors")
        for name, value in tuned.state_dict().items() if site in SITES else ():
            mean[name] += value / len(SITES)
        before, after = (accuracy(model, test_x, test_y, own) for model in (base, tuned))
        print(f"{site:6} all digits {accuracy(tuned, test_x, test_y):.3f}, own digits {before:.3f} -> {after:.3f}")
    merged = classifier()
    merged.load_state_dict(mean)
    print(f"mean   all digits {accuracy(merged, test_x, test_y):.3f}")
    save_file({"pixels": test_x, "labels": test_y}, folder / "test.safetensors")
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))
    }
    (folder / "digests.json").write_text(json.dumps(digests, indent=2) + "\n", encoding="ascii")


def main() -> int:
    """Write the files, or compare them with `--check`; 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the files would change")
    if not parser.parse_args().check:
        DATA.mkdir(parents=True, exist_ok=True)
        make(DATA)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        fresh = (Path(folder) / "digests.json").read_text(encoding="ascii")
    same = fresh == (DATA / "digests.json").read_text(encoding="ascii")
    print("the shipped files are current" if same else "the shipped files would change")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
