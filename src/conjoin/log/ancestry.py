"""Ancestry: the admitted operations as a graph, and questions about the past of one of them; decides nothing.

Standing sets (who is let in by an operation and its ancestors) are interned and shared, so they cost little when
members are few beside operations. Every operation has a clock, so that ancestry is one look-up and not a search.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from conjoin.log.clock import Clock
from conjoin.log.genesis import Genesis
from conjoin.log.operation import Member, Operation, Role
from conjoin.wire.digest import Digest

Standing = frozenset[tuple[str, Role]]
"""Every (key, role) that `member` operations of a causal past have let in."""

_NOBODY: Standing = frozenset()


class Node(NamedTuple):
    """An admitted operation and its place in the graph.

    Attributes:
        operation: the operation.
        height: longest way down to the genesis, which has 0.
        standing: who its causal past, itself included, has let in.
        branch: number of the branch it lies on.
        clock: how far its causal past, itself included, reaches along every branch.
    """

    operation: Operation
    height: int
    standing: Standing
    branch: int
    clock: Clock


class Ancestry:
    """The graph of admitted operations. Grows only; parents come before children."""

    def __init__(self) -> None:
        self._nodes: dict[Digest, Node] = {}
        self._chains: dict[str, dict[int, tuple[Digest, ...]]] = {}
        self._tips: list[Digest] = []
        self._heads: set[Digest] = set()
        self._standings: dict[Standing, Standing] = {}

    @property
    def nodes(self) -> Mapping[Digest, Node]:
        """The admitted operations by id, parents before children."""
        return self._nodes

    @property
    def tips(self) -> Sequence[Digest]:
        """The last operation of every branch: of an author's chain, or of each of its ends where it forked."""
        return self._tips

    @property
    def heads(self) -> Iterable[Digest]:
        """The operations that no other names, in no order."""
        return self._heads

    @property
    def chains(self) -> Mapping[str, Mapping[int, Sequence[Digest]]]:
        """For each author and seq the operations there: one, or several where the author forked its chain."""
        return self._chains

    def put(self, operation: Operation) -> None:
        """Put in an admitted operation whose parents are in."""
        parents = operation.parents
        nodes = [self._nodes[parent] for parent in parents]
        height = max([node.height for node in nodes]) + 1 if nodes else 0
        standing = self._united(nodes)
        if isinstance(operation.meaning, Member):
            entry = (operation.meaning.key, operation.meaning.role)
            standing = standing if entry in standing else self._intern(standing | {entry})
        branch = self._branch_of(operation)
        clock = _joined(nodes).advanced(branch, operation.seq + 1)
        self._nodes[operation.id] = Node(operation, height, standing, branch, clock)
        self._heads.difference_update(parents)
        self._heads.add(operation.id)
        chain = self._chains.setdefault(operation.author, {})
        others = chain.get(operation.seq)
        chain[operation.seq] = (*others, operation.id) if others else (operation.id,)

    def copy(self) -> "Ancestry":
        """Another graph of the same operations, which grows by itself."""
        copy = Ancestry()
        copy._nodes = dict(self._nodes)
        copy._chains = {author: dict(chain) for author, chain in self._chains.items()}
        copy._tips = list(self._tips)
        copy._heads = set(self._heads)
        copy._standings = dict(self._standings)
        return copy

    def _branch_of(self, operation: Operation) -> int:
        """The branch that ends in `prev`, now one longer; a new one for a first operation or a fork."""
        if operation.prev is not None:
            branch = self._nodes[operation.prev].branch
            if self._tips[branch] == operation.prev:
                self._tips[branch] = operation.id
                return branch
        self._tips.append(operation.id)
        return len(self._tips) - 1

    def standing_of(self, operations: Iterable[Digest]) -> Standing:
        """The union of the standings of `operations`."""
        return self._united(self._nodes[operation] for operation in operations)

    def _united(self, nodes: Iterable[Node]) -> Standing:
        union = _NOBODY
        for node in nodes:
            standing = node.standing
            if standing is not union and not standing <= union:
                union = standing if union <= standing else self._intern(union | standing)
        return union

    def _intern(self, standing: Standing) -> Standing:
        return self._standings.setdefault(standing, standing)

    def reaches(self, starts: Iterable[Digest], target: Digest) -> bool:
        """Whether `target` is one of `starts` or an ancestor of one; all are admitted."""
        wanted = self._nodes[target]
        branch, seq = wanted.branch, wanted.operation.seq
        return any(self._nodes[start].clock.count(branch) > seq for start in starts)


def _joined(nodes: Sequence[Node]) -> Clock:
    """How far the pasts of parents reach together; one that lies in the past of another adds nothing to it."""
    if not nodes:
        return Clock()
    if len(nodes) > 1:
        nodes = sorted(nodes, key=lambda node: node.height, reverse=True)
    clock = nodes[0].clock
    for node in nodes[1:]:
        if clock.count(node.branch) <= node.operation.seq:
            clock |= node.clock
    return clock


class Past:
    """The causal past of an operation with given parents, as admission asks for it.

    Attributes:
        founder: the author of the genesis.
        genesis: the body of the genesis.
    """

    def __init__(self, ancestry: Ancestry, founder: str, genesis: Genesis, parents: Sequence[Digest]) -> None:
        self.founder = founder
        self.genesis = genesis
        self._ancestry = ancestry
        self._parents = parents
        self._standing: Standing | None = None

    def find(self, operation: Digest) -> Operation | None:
        """The ancestor with this id, or None if no ancestor has it."""
        node = self._ancestry.nodes.get(operation)
        if node is None:
            return None
        known = operation in self._parents or self._ancestry.reaches(self._parents, operation)
        return node.operation if known else None

    def let_in(self, key: str, role: Role) -> bool:
        """Whether a `member` operation of version 1 among the ancestors lets `key` in as `role`."""
        if self._standing is None:
            self._standing = self._ancestry.standing_of(self._parents)
        return (key, role) in self._standing
