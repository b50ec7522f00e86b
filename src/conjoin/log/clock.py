"""Clock: how far a causal past reaches along every branch; an immutable map that shares what two clocks have in common.

A branch is a run of one author's operations without a fork, so its operations are a chain and one number per branch
says which of them are in a past. Clocks are trees of eight-fold nodes: advancing one branch copies one path, and
joining two clocks visits only the parts in which they differ.
"""

from dataclasses import dataclass
from typing import TypeAlias

_BITS = 3
_WIDTH = 1 << _BITS

Node: TypeAlias = "tuple[Node, ...] | int"
"""A number of operations at the leaves; 0 also stands for a whole subtree of zeros."""


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """For each branch (numbered from 0) a count, 0 at first: the past holds the branch's operations of lesser seq."""

    depth: int = 1
    root: Node = 0

    def count(self, branch: int) -> int:
        """The count of `branch`."""
        if branch >> (_BITS * self.depth):
            return 0
        node = self.root
        for level in range(self.depth - 1, -1, -1):
            if isinstance(node, int):
                return 0
            node = node[(branch >> (_BITS * level)) % _WIDTH]
        assert isinstance(node, int), "the leaves of a clock are numbers"
        return node

    def advanced(self, branch: int, count: int) -> "Clock":
        """This clock with `branch` at `count`."""
        depth = self.depth
        while branch >> (_BITS * depth):
            depth += 1
        return Clock(depth, _replaced(self._root_at(depth), depth, branch, count))

    def __or__(self, other: "Clock") -> "Clock":
        """The greater count of every branch."""
        depth = max(self.depth, other.depth)
        mine, its = self._root_at(depth), other._root_at(depth)
        root = _join(mine, its)
        if root is mine and depth == self.depth:
            return self
        return other if root is its and depth == other.depth else Clock(depth, root)

    def _root_at(self, depth: int) -> Node:
        root = self.root
        for _ in range(depth - self.depth):
            root = (root, *[0] * (_WIDTH - 1)) if root else 0
        return root


def _replaced(node: Node, depth: int, branch: int, count: int) -> Node:
    """A copy of the path of `depth` nodes to `branch`, with `count` at its end."""
    children: list[Node] = [0] * _WIDTH if isinstance(node, int) else list(node)
    depth -= 1
    place = (branch >> (_BITS * depth)) % _WIDTH
    children[place] = _replaced(children[place], depth, branch, count) if depth else count
    return tuple(children)


def _join(a: Node, b: Node) -> Node:
    if a is b or not b:
        return a
    if not a:
        return b
    if isinstance(a, int) or isinstance(b, int):
        assert isinstance(a, int) and isinstance(b, int), "two numbers or two nodes of one level"
        return max(a, b)
    joined = tuple(_join(x, y) for x, y in zip(a, b, strict=True))
    if all(x is y for x, y in zip(joined, a, strict=True)):
        return a
    return b if all(x is y for x, y in zip(joined, b, strict=True)) else joined
