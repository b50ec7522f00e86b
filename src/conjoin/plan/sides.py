"""Sides: names and places of what strategies write beside the tensors they make; knows shapes, never values."""

from collections.abc import Iterable, Sequence

from conjoin.plan.layout import OutTensor
from conjoin.plan.tasks import Group, Task
from conjoin.strategies.base import SideTensor


def side_name(side: SideTensor, contribution: str, tensor: str) -> str:
    """The name of a side tensor in `sidecars/sidecars.safetensors`: what it is, half the digest, the tensor's name."""
    return f"{side.name}.{contribution[:32]}.{tensor}"


def lay_out_sides(tasks: Iterable[Task], groups: Sequence[Group]) -> tuple[OutTensor, ...]:
    """Every side tensor of the output, in ascending order of name."""
    found: list[OutTensor] = []
    for task in tasks:
        if task.group is None:
            continue
        group = groups[task.group]
        for side in group.strategy.side_tensors(group.params):
            size = (task.elements + 7) // 8 if side.is_mask else 1
            found += [
                OutTensor(side_name(side, digest, name), side.dtype, (size,))
                for digest in group.contributions
                for name in task.names
            ]
    return tuple(sorted(found, key=lambda tensor: tensor.name))
