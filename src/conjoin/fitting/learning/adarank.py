"""AdaRank, the learning: which singular triplets of each task vector help, and coefficients, by unlabelled examples.

Lee et al., ICLR 2026, arXiv:2503.22178: B = [σ(b / T) > ½] with the gradient of σ(b / T), T = 10, b from +0.1 for
triplets that are kept at first and −0.1 for the others, λ from 0.3 on; both by Adam and the entropy of predictions.
Around the mean (CART) λ starts from 2.3, and 16 per cent of the triplets are kept at first.
"""

from dataclasses import replace
from typing import Any, Literal

from conjoin.fitting.data import Batch
from conjoin.fitting.learning.deltas import task_vectors
from conjoin.fitting.learning.descent import descend, mean_entropy
from conjoin.fitting.learning.problem import Problem, Settings, Tensors, per_tensor
from conjoin.fitting.machine import Tensor, deterministic, torch
from conjoin.strategies.adarank import triplets
from conjoin.wire.asset import Asset
from conjoin.wire.digest import Digest

SETTINGS = Settings(steps=10_000)
START, TEMPERATURE = 0.1, 10.0
SCALE = {"base": 0.3, "mean": 2.3}
"""λ at first, by origin."""
INITIAL = {"base": "1", "mean": "0.16"}
"""Share of each matrix's triplets that is kept at first, by origin."""


def straight_through(b: Tensor) -> Tensor:
    """The mask 0 or 1, with the gradient of σ(b / T)."""
    soft = torch().sigmoid(b / TEMPERATURE)
    return (b > 0).to(soft.dtype) + soft - soft.detach()


def fit(problem: Problem, *, initial: float = 1.0, origin: Literal["base", "mean"] = "base") -> Asset:
    """Learn B and λ.

    Args:
        problem: what is learned on.
        origin: from where task vectors are taken, and where they are added.
        initial: share of each matrix's triplets, the largest singular values first, that is kept at first.

    Raises:
        BadDataError: see `descend`.
    """
    with deterministic() as lib:
        names, digests = problem.names, problem.digests
        if origin == "mean":
            problem = replace(problem, base=_means(problem))
        embedded = _embeddings(problem)
        masked = [name for name in names if problem.base[name].dim() > 1 and problem.base[name].numel()]
        masked = [name for name in masked if name not in embedded]
        deltas = task_vectors(problem)
        factors = {name: [_factors(one) for one in deltas[name]] for name in masked}
        scales = lib.full((len(names), len(digests)), SCALE[origin], dtype=lib.float64, requires_grad=True)
        b = {name: _start([left.shape[1] for left, _ in factors[name]], initial) for name in masked}
        rows = {name: i for i, name in enumerate(names)}

        def update(name: str, row: Tensor) -> Tensor:
            if name not in b:
                return lib.tensordot(row, deltas[name], 1)
            kept = straight_through(b[name])
            parts = [(left * kept[i]) @ right for i, (left, right) in enumerate(factors[name])]
            return lib.tensordot(row, lib.stack(parts), 1).reshape(problem.base[name].shape)

        def merge() -> dict[str, Tensor]:
            found = scales.to(lib.float32)
            return {name: problem.base[name] + update(name, found[rows[name]]) for name in names}

        def loss(digest: Digest, tensors: Tensors, batch: Batch) -> Tensor:
            return mean_entropy(problem.tasks[digest].forward(tensors, batch), batch.mask)

        losses = descend(problem, merge, loss, lib.optim.Adam([scales, *b.values()], lr=float(problem.settings.rate)))
        kept = {
            name: {d: "".join("01"[value > 0] for value in row) for d, row in zip(digests, one.tolist(), strict=True)}
            for name, one in b.items()
        }
        values = {"kept": kept, "scale": per_tensor(names, digests, scales.tolist())}
    more = {} if origin == "base" else {"origin": origin}
    return problem.asset({**values, **more}, losses, initial=f"{initial:g}")


def _means(problem: Problem) -> dict[str, Tensor]:
    """The contributions' mean by their weights."""
    lib = torch()
    shares = lib.tensor([float(problem.share(digest)) for digest in problem.digests], dtype=lib.float64)
    return {
        name: lib.tensordot(
            shares, lib.stack([problem.contributions[d][name] for d in problem.digests]).double(), 1
        ).float()
        for name in problem.names
    }


def _factors(tau: Tensor) -> tuple[Tensor, Tensor]:
    """U Σ and Vᵀ in float32, of the triplets that the strategy finds."""
    found, unit = triplets(tau.double().reshape(len(tau), -1).numpy())
    return torch().from_numpy(unit * (found.left * found.values)).float(), torch().from_numpy(
        found.right.T.copy()
    ).float()


def _start(counts: list[int], initial: float) -> Tensor:
    """+0.1 for the first triplets of each contribution, −0.1 for the others. (k, triplets)."""
    lib = torch()
    place = lib.arange(counts[0]).expand(len(counts), -1)
    return lib.where(place < round(initial * counts[0]), START, -START).requires_grad_()


def _embeddings(problem: Problem) -> set[str]:
    """The tensors that are tables to look rows up in."""
    found = set[str]()
    for digest in problem.digests:
        model: Any = problem.tasks[digest].model
        tables = {f"{at}.weight" for at, one in model.module.named_modules() if isinstance(one, torch().nn.Embedding)}
        found |= {name for name, own in model.names.items() if own in tables}
    return found
