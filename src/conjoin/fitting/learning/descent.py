"""Descent: the loop that all learning on merged weights shares; knows no strategy."""

from collections.abc import Callable
from typing import Any

from conjoin.errors import BadDataError
from conjoin.fitting.data import Batch
from conjoin.fitting.learning.problem import Problem, Tensors
from conjoin.fitting.machine import Tensor, torch
from conjoin.wire.digest import Digest

Merge = Callable[[], dict[str, Tensor]]
"""Makes the merged tensors from what is learned."""
Loss = Callable[[Digest, Tensors, Batch], Tensor]
"""(contribution, all tensors, examples of its task) → loss."""


def descend(
    problem: Problem, merge: Merge, loss: Loss, optimiser: Any, penalty: Callable[[], Tensor] | None = None
) -> tuple[float, float]:
    """Minimise the sum over tasks, and return it before and after.

    A step merges once: the gradients of all tasks gather at the merged tensors and go from there to what is learned.

    Args:
        problem: what is learned on.
        merge: makes the merged tensors.
        loss: of one task's examples.
        optimiser: of torch, or like one.
        penalty: what is added once a step.

    Raises:
        BadDataError: the loss became NaN or Inf; or as models do.
    """
    start = measured(problem, merge, loss)
    problem.progress.start("learning", problem.settings.steps)
    for step in range(problem.settings.steps):
        optimiser.zero_grad()
        made = merge()
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in made.items()}
        for digest in problem.digests:
            value = loss(digest, problem.whole(leaves), problem.batch(digest, step))
            if not torch().isfinite(value):
                raise BadDataError(
                    f"the loss became {float(value.detach())} in step {step + 1}",
                    where=f"the task of contribution {digest}",
                    hint="a smaller `--rate`, or other data",
                )
            value.backward()
        reached = [name for name, leaf in leaves.items() if leaf.grad is not None and made[name].requires_grad]
        if reached:
            torch().autograd.backward([made[name] for name in reached], [leaves[name].grad for name in reached])
        if penalty is not None and (added := penalty()).requires_grad:
            added.backward()
        optimiser.step()
        problem.progress.advance(1)
    return start, measured(problem, merge, loss)


def measured(problem: Problem, merge: Merge, loss: Loss) -> float:
    """The sum over tasks of the mean loss of their first examples."""
    total = 0.0
    with torch().no_grad():
        tensors = problem.whole(merge())
        for digest in problem.digests:
            parts = [(float(loss(digest, tensors, batch)), len(batch.indices)) for batch in problem.measured(digest)]
            total += sum(value * count for value, count in parts) / sum(count for _, count in parts)
    return total


def mean_over(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of (n,) or (n, tokens), of the latter over real tokens only."""
    if mask is None or values.dim() != 2:
        return values.mean()
    return torch().where(mask, values, 0.0).sum() / mask.sum()


def mean_entropy(logits: Tensor, mask: Tensor | None) -> Tensor:
    """The mean entropy (nats) of softmax over the last dimension."""
    logs = torch().log_softmax(logits, -1)
    return mean_over(-(logs.exp() * logs).sum(-1), mask)
