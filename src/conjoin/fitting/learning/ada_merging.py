"""AdaMerging, the learning: coefficients that make the merged model's predictions certain, by unlabelled examples.

Yang et al., ICLR 2024, arXiv:2310.02575: λ from 0.3 on, between 0 and 1, by Adam.
"""

from conjoin.fitting.data import Batch
from conjoin.fitting.learning.deltas import task_vectors
from conjoin.fitting.learning.descent import descend, mean_entropy
from conjoin.fitting.learning.problem import Problem, Settings, Tensors, per_tensor
from conjoin.fitting.machine import Tensor, deterministic
from conjoin.strategies.learned import EVERY
from conjoin.wire.asset import Asset
from conjoin.wire.digest import Digest

SETTINGS = Settings(steps=500)
INITIAL = 0.3


def fit(problem: Problem, *, task_wise: bool = False, plus_plus: bool = False, density: str = "0.2") -> Asset:
    """Learn λ.

    Args:
        problem: what is learned on.
        task_wise: one coefficient per contribution instead of one per tensor and contribution.
        plus_plus: AdaMerging++, on task vectors trimmed and elected as TIES does.
        density: share kept by that trim.

    Raises:
        BadDataError: see `descend`.
    """
    with deterministic() as lib:
        deltas = task_vectors(problem, density if plus_plus else None)
        rows = [EVERY] if task_wise else list(problem.names)
        raw = lib.full((len(rows), len(problem.digests)), INITIAL, dtype=lib.float64, requires_grad=True)

        def scales() -> Tensor:
            return raw.clamp(0.0, 1.0)

        def merge() -> dict[str, Tensor]:
            found = scales().to(lib.float32)
            at = dict.fromkeys(problem.names, 0) if task_wise else {name: i for i, name in enumerate(rows)}
            return {
                name: problem.base[name] + lib.tensordot(found[at[name]], deltas[name], 1) for name in problem.names
            }

        def loss(digest: Digest, tensors: Tensors, batch: Batch) -> Tensor:
            return mean_entropy(problem.tasks[digest].forward(tensors, batch), batch.mask)

        losses = descend(problem, merge, loss, lib.optim.Adam([raw], lr=float(problem.settings.rate)))
        values = {"scale": per_tensor(rows, problem.digests, scales().tolist())}
    return problem.asset({**values, "trim": {"density": density}} if plus_plus else values, losses)
