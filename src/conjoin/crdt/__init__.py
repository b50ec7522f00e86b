"""Layer 1 in memory: the OR-Set of contributions and its causal context. Does not know that tensors exist."""

from conjoin.crdt.context import CausalContext, Dot
from conjoin.crdt.orset import MergeState, join, root_of

__all__ = ["CausalContext", "Dot", "MergeState", "join", "root_of"]
