"""Searches: CMA-ES and a genetic algorithm over genes between 0 and 1; pure, and the same bits on every machine.

Every random number is a draw named by the seed, the algorithm, the generation and the individual, with the dimension as
its index. Floats are added, multiplied, divided and rooted in a fixed order; all else is done by `kernels`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.kernels import scalars

Genes = tuple[int, ...]
"""One gene per dimension, from 0 to GENE_MAX: what finer steps would change no count of right answers shows."""
GENE_MAX = 10_000

Score = tuple[int, int]
"""How many answers are right, and of how many."""
Evaluate = Callable[[Genes], Score]

SPREAD = Fraction(1, 6)
"""First step size of CMA-ES, as Akiba et al. have it: three of them reach from the middle to the edge."""
CROSSOVER, CROSSOVER_INDEX = 0.9, 15
"""Probability of a crossover and the index η of its distribution (simulated binary crossover, pymoo's defaults)."""
MUTATION_INDEX = 20
"""The index η of polynomial mutation (pymoo's default); each gene mutates with probability 1/d."""
GENETIC_POPULATION = 20

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate: its place in the search, its genes and its score."""

    index: int
    genes: Genes
    score: Score

    @property
    def fitness(self) -> Fraction:
        """The share of right answers."""
        return Fraction(*self.score)


@dataclass
class Search:
    """What was tried so far. A candidate that was tried before costs a trial and no evaluation."""

    evaluate: Evaluate
    evaluations: int
    history: list[Trial] = field(default_factory=list[Trial])
    _known: dict[Genes, Score] = field(default_factory=dict[Genes, Score])

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return len(self.history) >= self.evaluations

    def attempt(self, genes: Genes) -> Trial:
        """Score a candidate."""
        if genes not in self._known:
            self._known[genes] = self.evaluate(genes)
        self.history.append(Trial(len(self.history), genes, self._known[genes]))
        return self.history[-1]

    @property
    def best(self) -> Trial:
        """The best candidate; of equals the one tried first."""
        return ranked(self.history)[0]


def ranked(trials: list[Trial]) -> list[Trial]:
    """Trials, best first; of equals the one tried first."""
    return sorted(trials, key=lambda trial: (-trial.fitness, trial.index))


def middle(dimensions: int) -> Genes:
    """The candidate both searches try first: every gene one half, so that the winner is never worse than that."""
    return (GENE_MAX // 2,) * dimensions


def cma_population(dimensions: int) -> int:
    """λ = 4 + ⌊3 ln d⌋."""
    return 4 + (3 * scalars.log(Fraction(dimensions))).__floor__()


# ---------------------------------------------------------------------- CMA-ES


@dataclass(frozen=True)
class _Strategy:
    """The constants of CMA-ES for a number of dimensions and a population (Hansen 2016, arXiv:1604.00772, table 1)."""

    dimensions: int
    weights: Vector
    mass: float
    path_rate: float
    damping: float
    rank_one_path: float
    rank_one: float
    rank_many: float
    length: float

    @classmethod
    def of(cls, n: int, population: int) -> "_Strategy":
        """The recommended constants, with positive weights only."""
        parents = max(population // 2, 1)
        top = scalars.log(Fraction(population + 1, 2))
        raw = [max(top - scalars.log(Fraction(rank)), Fraction(0)) for rank in range(1, parents + 1)]
        total = sum(raw, Fraction(0))
        shares = [w / total for w in raw] if total else [Fraction(1)]
        m = 1 / sum((w * w for w in shares), Fraction(0))
        rank_one = 2 / ((n + Fraction("1.3")) * (n + Fraction("1.3")) + m)
        rank_many = min(1 - rank_one, 2 * (m - 2 + 1 / m) / ((n + 2) * (n + 2) + m))
        rate = (m + 2) / (n + m + 5)
        excess = scalars.sqrt((m - 1) / (n + 1)) - 1 if m > 1 else Fraction(-1)
        return cls(
            n,
            np.array([float(w) for w in shares]),
            float(m),
            float(rate),
            float(1 + 2 * max(Fraction(0), excess) + rate),
            float((4 + m / n) / (n + 4 + 2 * m / n)),
            float(rank_one),
            float(max(rank_many, Fraction(0))),
            float(scalars.sqrt(Fraction(n)) * (1 - Fraction(1, 4 * n) + Fraction(1, 21 * n * n))),
        )


@dataclass
class _State:
    """Where CMA-ES is: centre, step size, covariance C = B D² Bᵀ, and the two evolution paths."""

    centre: Vector
    step: float
    covariance: Vector
    axes: Vector
    lengths: Vector
    path: Vector
    slow_path: Vector

    @classmethod
    def start(cls, n: int, spread: Fraction) -> "_State":
        one = np.eye(n)
        return cls(np.full(n, 0.5), float(spread), one, one, np.ones(n), np.zeros(n), np.zeros(n))


def cma_es(
    seed: bytes,
    dimensions: int,
    search: Search,
    *,
    population: int | None = None,
    spread: Fraction = SPREAD,
    after_generation: Callable[[], None] = lambda: None,
) -> Search:
    """Covariance matrix adaptation until the budget is spent.

    Points outside of [0, 1] are folded back at its ends like a strip of paper; the search itself goes on unfolded.

    Args:
        seed: 32 bytes.
        dimensions: number of genes.
        search: what candidates are tried with.
        population: candidates per generation; None takes 4 + ⌊3 ln d⌋.
        spread: first step size.
        after_generation: called after each.
    """
    size = population or cma_population(dimensions)
    constants, state = _Strategy.of(dimensions, size), _State.start(dimensions, spread)
    search.attempt(middle(dimensions))
    generation = 0
    while not search.is_over:
        points: list[Vector] = []
        trials: list[Trial] = []
        for individual in range(size):
            if search.is_over:
                return search
            key = kernels.draw_key(seed, "cmaes", f"{generation}/{individual}", "")
            normal = np.array(kernels.normals(key, 0, dimensions))
            points.append(_times(state.axes, state.lengths * normal))
            trials.append(search.attempt(_folded(state.centre + state.step * points[-1])))
        order = {trial.index: at for at, trial in enumerate(trials)}
        chosen = [points[order[trial.index]] for trial in ranked(trials)]
        _adapt(constants, state, np.array(chosen[: len(constants.weights)]), generation)
        generation += 1
        after_generation()
    return search


def _adapt(constants: _Strategy, state: _State, best: Vector, generation: int) -> None:
    """Move mean, step size and covariance towards the best steps, (parents, n), best first."""
    c, n = constants, constants.dimensions
    towards = _times(best.T, c.weights)
    state.centre = state.centre + state.step * towards
    whitened = _times(state.axes, _times(state.axes.T, towards) / state.lengths)
    kept = 1.0 - c.path_rate
    state.path = kept * state.path + math.sqrt(c.path_rate * (2.0 - c.path_rate) * c.mass) * whitened
    size = math.sqrt(_times(state.path[np.newaxis], state.path)[0])
    warm = 1.0
    for _ in range(min(2 * (generation + 1), 4096)):
        warm *= kept
    short = size / math.sqrt(1.0 - warm) < (1.4 + 2.0 / (n + 1)) * c.length
    rate = c.rank_one_path
    pull = math.sqrt(rate * (2.0 - rate) * c.mass) if short else 0.0
    state.slow_path = (1.0 - rate) * state.slow_path + pull * towards
    lost = 0.0 if short else c.rank_one * rate * (2.0 - rate)
    outer = state.slow_path[:, np.newaxis] * state.slow_path[np.newaxis]
    roots = best * np.sqrt(c.weights)[:, np.newaxis]
    spread = kernels.gemm(np.ascontiguousarray(roots.T), roots, wide=True)
    old = 1.0 - c.rank_one - c.rank_many + lost
    state.covariance = (old * state.covariance + c.rank_one * outer) + c.rank_many * spread
    growth = c.path_rate / c.damping * (size / c.length - 1.0)
    state.step = min(max(state.step * float(scalars.exp(Fraction(min(growth, 1.0)))), 1e-9), 1.0)
    values, state.axes = kernels.eigh(state.covariance)
    state.lengths = np.sqrt(np.maximum(values, 1e-18))


def _times(matrix: Vector, vector: Vector) -> Vector:
    """A·v, every element a chain in order of the columns."""
    return kernels.gemm(np.ascontiguousarray(matrix), np.ascontiguousarray(vector[:, np.newaxis]), wide=True)[:, 0]


def _folded(point: Vector) -> Genes:
    """The point as genes, folded into [0, 1] like a strip of paper."""
    turned = np.abs(point - 2.0 * np.floor(point * 0.5 + 0.5))
    return tuple(int(gene) for gene in np.floor(turned * GENE_MAX + 0.5))


# ---------------------------------------------------------------------- genetic algorithm


def genetic(
    seed: bytes,
    dimensions: int,
    search: Search,
    *,
    population: int = GENETIC_POPULATION,
    after_generation: Callable[[], None] = lambda: None,
) -> Search:
    """A genetic algorithm until the budget is spent.

    Parents win tournaments of two; simulated binary crossover with η = 15 and polynomial mutation with η = 20 make
    children (Deb and Agrawal 1995; the settings are those of pymoo); the best ever takes the place of the worst child.

    Args:
        seed: 32 bytes.
        dimensions: number of genes.
        search: what candidates are tried with.
        population: candidates per generation, 2 or more.
        after_generation: called after each.
    """
    parents = [search.attempt(middle(dimensions))]
    while len(parents) < population and not search.is_over:
        words = _words(seed, "first", 0, len(parents), dimensions)
        parents.append(search.attempt(tuple(word * (GENE_MAX + 1) >> 32 for word in words)))
    generation = 0
    while not search.is_over:
        after_generation()
        generation += 1
        children: list[Trial] = []
        for mating in range((population + 1) // 2):
            for genes in _children(seed, generation, mating, parents, dimensions):
                if search.is_over:
                    return search
                if len(children) < population:
                    children.append(search.attempt(genes))
        parents = ranked(children)
        if search.best.fitness > parents[0].fitness:
            parents = [search.best, *parents[:-1]]
    after_generation()
    return search


def _words(seed: bytes, what: str, generation: int, individual: int, count: int) -> list[int]:
    key = kernels.draw_key(seed, "ga", f"{what}/{generation}/{individual}", "")
    return kernels.draws(key, 0, count).tolist()


def _children(seed: bytes, generation: int, mating: int, parents: list[Trial], n: int) -> tuple[Genes, Genes]:
    """Two children of two parents, each the better of two that were drawn."""
    drawn = [word * len(parents) >> 32 for word in _words(seed, "select", generation, mating, 4)]
    mother, father = (ranked([parents[a], parents[b]])[0].genes for a, b in (drawn[:2], drawn[2:]))
    words = _words(seed, "cross", generation, mating, 1 + 3 * n)
    pairs = list(zip(mother, father, strict=True))
    if _uniform(words[0]) < CROSSOVER:
        pairs = [_crossed(*pair, *words[1 + 3 * at : 4 + 3 * at]) for at, pair in enumerate(pairs)]
    first, second = (tuple(pair[side] for pair in pairs) for side in (0, 1))
    return _mutated(seed, generation, 2 * mating, first), _mutated(seed, generation, 2 * mating + 1, second)


def _uniform(word: int) -> float:
    """The middle of a word's place in [0, 1): exact."""
    return (2 * word + 1) / 2**33


def _crossed(mother: int, father: int, whether: int, where: int, swap: int) -> tuple[int, int]:
    """Simulated binary crossover of one gene within its bounds; half of all genes stay as they are."""
    if whether & 1 or mother == father:
        return mother, father
    low, high = min(mother, father) / GENE_MAX, max(mother, father) / GENE_MAX
    gap, u = high - low, _uniform(where)
    apart = [_spread(u, 1.0 + 2.0 * room / gap) * gap for room in (low, 1.0 - high)]
    first, second = _gene(0.5 * (low + high - apart[0])), _gene(0.5 * (low + high + apart[1]))
    return (second, first) if swap & 1 else (first, second)


def _spread(u: float, reach: float) -> float:
    """How far apart the children of parents one apart are, with so much room: u ↦ β, cut off at the bound."""
    whole = 2.0 - 1.0 / _power(reach, CROSSOVER_INDEX + 1)
    # |β| ^ 16 = u·α up to 1, and 1/(2 − u·α) from there on; four square roots give β
    value = u * whole if u * whole <= 1.0 else 1.0 / (2.0 - u * whole)
    return math.sqrt(math.sqrt(math.sqrt(math.sqrt(value))))


def _mutated(seed: bytes, generation: int, individual: int, genes: Genes) -> Genes:
    """Polynomial mutation: each gene with probability 1/d."""
    n = len(genes)
    words = _words(seed, "mutate", generation, individual, 2 * n)
    changed = list(genes)
    for at, gene in enumerate(genes):
        if words[2 * at] * n < 2**32:
            changed[at] = _polynomial(gene, _uniform(words[2 * at + 1]))
    return tuple(changed)


def _polynomial(gene: int, u: float) -> int:
    """A gene moved by up to the room there is, mostly by little."""
    value, power = gene / GENE_MAX, MUTATION_INDEX + 1
    if u <= 0.5:
        inner = 2.0 * u + (1.0 - 2.0 * u) * _power(1.0 - value, power)
        return _gene(value + (_root(inner, power) - 1.0))
    inner = 2.0 * (1.0 - u) + 2.0 * (u - 0.5) * _power(value, power)
    return _gene(value + (1.0 - _root(inner, power)))


def _power(value: float, exponent: int) -> float:
    """A whole power, multiplied out from left to right."""
    found = 1.0
    for _ in range(exponent):
        found *= value
    return found


def _root(value: float, degree: int) -> float:
    return float(scalars.power(Fraction(value), Fraction(1, degree)))


def _gene(value: float) -> int:
    return min(max(math.floor(value * GENE_MAX + 0.5), 0), GENE_MAX)
