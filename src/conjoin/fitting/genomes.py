"""Genomes: which gene stands for what, and how genes become the values of an asset; evaluates nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any

from conjoin.errors import BadParameterError
from conjoin.fitting.search import GENE_MAX, Genes
from conjoin.strategies.base import canonical_decimal

DENSITY_MIN = GENE_MAX // 10
"""Least density: one in ten, as sparse as DARE is used; a lower gene counts as this."""

_LAYERS = re.compile(r"layers(?::([1-9]\d{0,3}))?")
_NUMBER = re.compile(r"(?:^|\.)(\d+)\.")

Groups = list[list[str]]


@dataclass(frozen=True, slots=True)
class Layout:
    """The dimensions of a search: by contribution in canonical order, then by group, a weight and maybe a density.

    Attributes:
        contributions: digests, ascending; no order of arrival is in it.
        groups: globs of tensor names, the first group that matches counts.
        inner: recipe the genome is of.
        normalize: whether weights are divided by their sum.
        seed: 32 bytes that name the masks.
    """

    contributions: tuple[str, ...]
    groups: Groups
    inner: str
    normalize: bool
    seed: bytes

    @property
    def kinds(self) -> int:
        """Genes per contribution and group: linear recipes have no density."""
        return 2 if self.inner in ("dare_ties", "ties") else 1

    @property
    def dimensions(self) -> int:
        """Number of genes."""
        return len(self.contributions) * len(self.groups) * self.kinds

    def values(self, genes: Genes) -> dict[str, Any]:
        """What the strategy applies for a candidate; a group in which nothing has a weight has equal ones."""
        kinds, width = self.kinds, len(self.groups) * self.kinds
        weights = [[genes[row * width + g * kinds] for g in range(len(self.groups))] for row in self._rows]
        empty = [self.normalize and not any(row[g] for row in weights) for g in range(len(self.groups))]
        found: dict[str, list[list[str]]] = {}
        for row, digest in enumerate(self.contributions):
            found[digest] = []
            for g, nothing in enumerate(empty):
                density = genes[row * width + g * kinds + 1] if kinds == 2 else GENE_MAX
                weight = GENE_MAX // 2 if nothing else weights[row][g]
                found[digest].append([_decimal(weight), _decimal(max(density, DENSITY_MIN))])
        return {
            "genes": found,
            "groups": self.groups,
            "inner": self.inner,
            "normalize": str(self.normalize).lower(),
            "seed": self.seed.hex(),
        }

    @property
    def _rows(self) -> range:
        return range(len(self.contributions))


def _decimal(gene: int) -> str:
    return canonical_decimal(Fraction(gene, GENE_MAX))


def groups_of(names: Sequence[str], asked: Sequence[str]) -> Groups:
    """The groups of tensors that have genes of their own.

    Args:
        names: the tensors that are merged.
        asked: globs, a group each; `layers` is a group for each layer, by the first number in a name, and `layers:4`
            one for every four. What is left is the last group; nothing asked for is one group of all.

    Raises:
        BadParameterError: a group holds no tensor.
    """
    groups: Groups = []
    for text in asked:
        layers = _LAYERS.fullmatch(text)
        groups += [[text]] if layers is None else _layers(names, int(layers[1] or 1))
    left = list(names)
    for globs in groups:
        taken = [name for name in left if any(fnmatchcase(name, glob) for glob in globs)]
        if not taken:
            raise BadParameterError(
                f"the group {', '.join(globs)} of the search holds no tensor that is not in one before it",
                hint="`conjoin show BASE` lists the names; `*` stands for any part of one, and dots count as letters",
            )
        left = [name for name in left if name not in set(taken)]
    return groups + [["*"]] * bool(left or not groups)


def _layers(names: Sequence[str], together: int) -> Groups:
    """A group of globs for every so many layers."""
    found: dict[int, set[str]] = {}
    for name in names:
        number = _NUMBER.search(name)
        if number is not None:
            prefix = re.sub(r"([*?[])", r"[\1]", name[: number.end(1)])
            found.setdefault(int(number[1]) // together, set()).add(f"{prefix}.*")
    if not found:
        raise BadParameterError(
            "no tensor has the number of a layer in its name", hint="give globs: `--group '*.attention.*'`"
        )
    return [sorted(found[number]) for number in sorted(found)]
