"""DAM, the learning: shares per input column with which one model predicts what every contribution does on its data.

Gauthier-Caron et al., 2024, arXiv:2410.08371. The optimiser is AdamW whose momentum is filtered: of every vector of
coefficients only the entries of largest momentum move (MoFO, Chen et al. 2024, arXiv:2407.20999).
"""

import math
from dataclasses import replace

from conjoin.fitting.data import Batch
from conjoin.fitting.learning.descent import descend, mean_over
from conjoin.fitting.learning.problem import Problem, Settings, Tensors
from conjoin.fitting.machine import Tensor, deterministic, torch
from conjoin.fitting.surgery import hex_of
from conjoin.wire.asset import Asset
from conjoin.wire.digest import Digest

SETTINGS = Settings(steps=0, batch=1)
"""Steps 0: once through the longest data."""
TEMPERATURE, COSINE, MOVED = 2.0, 0.01, 0.3


def distillation(student: Tensor, teacher: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """T² · KL(teacher ‖ student), both softmax of logits / T, per example or token on average.

    The slope is written as softmax(student) − softmax(teacher), so that equal logits have none, not even a rounding,
    which Adam would make a whole step of.
    """
    t, s = teacher / temperature, student / temperature
    known, given = (logits - logits.logsumexp(-1, keepdim=True) for logits in (t, s))
    share = known.exp()
    slope = s.logsumexp(-1) - (share * s).sum(-1)
    value = (share * (known - given)).sum(-1)
    return mean_over(slope + (value - slope).detach(), mask) * temperature**2


def mean_cosine(rows: list[Tensor]) -> Tensor:
    """The mean cosine over all pairs of contributions and all tensors (k, columns); 0 where there is no pair."""
    lib, found = torch(), list[Tensor]()
    for row in rows:
        unit = row / row.norm(dim=1, keepdim=True).clamp_min(1e-12)
        cosines, count = unit @ unit.T, len(row)
        found += [cosines[i, j] for i in range(count) for j in range(i)]
    return lib.stack(found).mean() if found else lib.zeros(())


class Filtered:
    """AdamW without decay, of which only the entries of largest momentum move in each row.

    Attributes:
        moved: share of the entries of a row that move, at least one.
    """

    def __init__(self, parameters: list[Tensor], rate: float, moved: float) -> None:
        self.parameters, self.rate, self.moved, self._step = parameters, rate, moved, 0
        self._first = [torch().zeros_like(one) for one in parameters]
        self._second = [torch().zeros_like(one) for one in parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for one in self.parameters:
            one.grad = None

    def step(self) -> None:
        """Move along the gradients."""
        lib, self._step = torch(), self._step + 1
        with lib.no_grad():
            for one, first, second in zip(self.parameters, self._first, self._second, strict=True):
                gradient = lib.zeros_like(one) if one.grad is None else one.grad
                first.mul_(0.9).add_(0.1 * gradient)
                second.mul_(0.999).add_(0.001 * gradient * gradient)
                count = -int(-self.moved * one.shape[1] // 1)
                least = first.abs().sort(dim=1, descending=True).values[:, count - 1 : count]
                root = (second / (1 - 0.999**self._step)).sqrt() + 1e-8
                change = self.rate * first / (1 - 0.9**self._step) / root
                one.sub_(lib.where(first.abs() >= least, change, 0.0))


def fit(problem: Problem, *, temperature: float = TEMPERATURE, cosine: float = COSINE, moved: float = MOVED) -> Asset:
    """Learn c, one number per input column, dimension of a norm or an embedding, or bias, and contribution.

    Args:
        problem: what is learned on.
        temperature: of the distillation.
        cosine: factor of the mean cosine between the contributions' coefficients.
        moved: share of coefficients that a step moves; 1 is plain AdamW.

    Raises:
        BadDataError: see `descend`.
    """
    if not problem.settings.steps:
        longest = max(len(problem.tasks[digest].data) for digest in problem.digests)
        steps = -(-longest // problem.settings.batch)
        problem = replace(problem, settings=replace(problem.settings, steps=steps))
    with deterministic() as lib:
        digests, names = problem.digests, problem.names
        stacks = {name: lib.stack([problem.contributions[digest][name] for digest in digests]) for name in names}
        shares = lib.tensor([float(problem.share(digest)) for digest in digests], dtype=lib.float64)
        means = {name: lib.tensordot(shares, stack.double(), 1).float() for name, stack in stacks.items()}
        # what is learned is the distance from the mean, so that the start is the mean to the bit
        away = {
            name: lib.zeros(len(digests), columns_of(name, means[name]), dtype=lib.float64, requires_grad=True)
            for name in names
        }
        learned = [away[name] for name in names if means[name].dim() and means[name].numel()]

        def merge() -> dict[str, Tensor]:
            return {name: means[name] + _weighted(away[name], stacks[name]) for name in names}

        def loss(digest: Digest, tensors: Tensors, batch: Batch) -> Tensor:
            task = problem.tasks[digest]
            with lib.no_grad():
                teacher = task.forward(problem.contributions[digest], batch)
            return distillation(task.forward(tensors, batch), teacher, temperature, batch.mask)

        def penalty() -> Tensor:
            return cosine * mean_cosine([shares[:, None] + one for one in learned if one.shape[1] > 1])

        losses = descend(problem, merge, loss, Filtered(learned, float(problem.settings.rate), moved), penalty)
        values = {
            name: {
                d: hex_of(row) for d, row in zip(digests, (1 + one.detach() / shares[:, None]).tolist(), strict=True)
            }
            for name, one in away.items()
        }
    return problem.asset(
        {"coefficient": values}, losses, temperature=f"{temperature:g}", cosine=f"{cosine:g}", moved=f"{moved:g}"
    )


def columns_of(name: str, tensor: Tensor) -> int:
    """How many coefficients a tensor has: one for a bias, else one per input column or dimension."""
    if tensor.dim() < 2:
        return 1 if tensor.dim() == 0 or name.endswith("bias") else tensor.shape[0]
    return math.prod(tensor.shape[1:])


def _weighted(away: Tensor, stack: Tensor) -> Tensor:
    """Σᵢ Wᵢ · diag(dᵢ)."""
    narrow = away.to(stack.dtype)
    shape = (len(narrow), 1, *stack.shape[2:]) if stack.dim() > 2 else narrow.shape[: stack.dim()]
    return (stack * narrow.reshape(shape)).sum(0)
