"""Searches: they converge, depend on their seed alone, keep the best, and score what they are told to."""

from fractions import Fraction

import numpy as np
import pytest

from conjoin.errors import BadParameterError
from conjoin.fitting.genomes import Layout, groups_of
from conjoin.fitting.search import GENE_MAX, Search, Trial, cma_es, cma_population, genetic, middle, ranked
from conjoin.kernels import draw_key, draws
from conjoin.strategies.genome import group_of
from conjoin.testing.strategy_suite import backend
from conjoin.wire.digest import sha256

SEED = bytes(range(32))
TARGET = GENE_MAX * 7 // 10


def sphere(genes):
    """−Σ (w − 0.7)², as a count."""
    return 10**10 - sum((gene - TARGET) ** 2 for gene in genes), 10**10


def distance(search):
    return sum(Fraction(gene - TARGET, GENE_MAX) ** 2 for gene in search.best.genes)


def run(algorithm, evaluate=sphere, evaluations=600, dimensions=4, seed=SEED, **options):
    return algorithm(seed, dimensions, Search(evaluate, evaluations), **options)


def test_cma_es_converges_on_the_sphere_and_does_so_again():
    found = run(cma_es)
    assert len(found.history) == 600
    assert distance(found) < Fraction(1, 1000)
    again = run(cma_es, evaluations=100)
    assert again.history == found.history[:100]  # a longer search begins like a shorter one
    assert run(cma_es, evaluations=20, seed=bytes(32)).history != again.history[:20]


def test_the_genetic_algorithm_gets_near_and_does_so_again():
    found = run(genetic, evaluations=300)
    assert distance(found) < Fraction(1, 100)
    assert run(genetic, evaluations=60).history == found.history[:60]
    assert run(genetic, evaluations=20, seed=bytes(32)).history != found.history[:20]


GOLDEN = {
    cma_es: "d95efc9f1881eaf1ad774f4b555d6e5903d8297ab215053520a337da75b5e346",
    genetic: "6f97582e1913ba8897a2564b1cd4414840b40c8b50c78bc379ce13ab6ea76194",
}


@pytest.mark.parametrize("algorithm", [cma_es, genetic])
def test_candidates_are_for_ever(algorithm):
    for arithmetic in ("compiled", "reference"):
        with backend(arithmetic):
            found = run(algorithm, evaluations=45)
        assert sha256(repr([trial.genes for trial in found.history]).encode()) == GOLDEN[algorithm]


def test_cma_es_finds_a_narrow_valley():
    def valley(genes):
        x = [Fraction(gene, GENE_MAX) - Fraction(7, 10) for gene in genes]
        return int(10**12 - 10**12 * ((x[0] - x[1]) ** 2 + (x[0] + x[1]) ** 2 / 400) / 4), 10**12

    found = run(cma_es, valley, evaluations=300, dimensions=2)
    assert distance(found) < Fraction(1, 1000)


@pytest.mark.parametrize("algorithm", [cma_es, genetic])
@pytest.mark.parametrize("dimensions", [1, 9])
@pytest.mark.parametrize("population", [2, 7])
def test_the_budget_is_kept_and_genes_stay_in_range(algorithm, dimensions, population):
    found = run(algorithm, evaluations=25, dimensions=dimensions, population=population)
    assert [trial.index for trial in found.history] == list(range(25))
    assert found.history[0].genes == middle(dimensions)
    assert all(len(t.genes) == dimensions and 0 <= gene <= GENE_MAX for t in found.history for gene in t.genes)


@pytest.mark.parametrize("algorithm", [cma_es, genetic])
def test_the_best_so_far_never_gets_worse(algorithm):
    best = []
    search = Search(sphere, 80)
    algorithm(SEED, 4, search, after_generation=lambda: best.append(search.best.fitness))
    assert best == sorted(best)
    assert len(set(best)) > 1
    assert search.best.fitness == max(trial.fitness for trial in search.history)


@pytest.mark.parametrize("algorithm", [cma_es, genetic])
def test_where_all_are_equal_the_first_wins(algorithm):
    found = run(algorithm, lambda _: (3, 7), evaluations=60)
    assert found.best.index == 0


def test_equal_shares_of_unequal_totals_are_equal():
    trials = [Trial(0, (1,), (1, 2)), Trial(1, (2,), (3, 4)), Trial(2, (3,), (6, 8)), Trial(3, (4,), (2, 3))]
    assert [trial.index for trial in ranked(trials)] == [1, 2, 3, 0]


def test_what_was_tried_is_not_evaluated_again():
    asked = []

    def evaluate(genes):
        asked.append(genes)
        return 1, 2

    search = Search(evaluate, 10)
    for _ in range(3):
        search.attempt((1, 2))
    search.attempt((2, 1))
    assert asked == [(1, 2), (2, 1)]
    assert len(search.history) == 4


def test_first_genes_are_the_draws_by_their_names():
    found = run(genetic, evaluations=3, dimensions=5)
    words = draws(draw_key(SEED, "ga", "first/0/2", ""), 0, 5).tolist()
    assert found.history[2].genes == tuple(word * (GENE_MAX + 1) // 2**32 for word in words)


def test_populations_are_those_of_the_tutorial():
    assert [cma_population(n) for n in (1, 2, 3, 10, 20, 100)] == [4, 6, 7, 10, 12, 17]


def test_crossover_and_mutation_keep_their_means():
    """Children lie about their parents: the mean of many is that of the parents, and some lie beyond them."""
    from conjoin.fitting.search import _crossed, _polynomial

    words = draws(draw_key(SEED, "test", "", ""), 0, 2000).tolist()
    pairs = [_crossed(4000, 6000, 0, where, swap) for where, swap in zip(words[::2], words[1::2], strict=True)]
    children = np.array(pairs)
    assert abs(children.mean() - 5000) < 100
    assert (children < 4000).any()
    assert (children > 6000).any()
    assert ((children - 5000) ** 2).mean() ** 0.5 == pytest.approx(1000, rel=0.15)
    moved = np.array([_polynomial(3000, (2 * word + 1) / 2**33) for word in words[:500]])
    assert abs(moved.mean() - 3000) < 100
    assert moved.min() < 2500 < 3500 < moved.max()


LAYOUT = Layout(("aa" * 32, "bb" * 32), [["*.bias"], ["*"]], "dare_ties", True, bytes(32))


def test_genes_of_a_layout():
    assert LAYOUT.dimensions == 8
    values = LAYOUT.values((1000, 5000, 0, 20, 3000, 10_000, 0, 9999))
    assert values["genes"] == {
        "aa" * 32: [["0.1", "0.5"], ["0.5", "0.1"]],  # nothing has a weight in the second group, so all have the same
        "bb" * 32: [["0.3", "1"], ["0.5", "0.9999"]],
    }
    assert (values["inner"], values["normalize"], values["seed"]) == ("dare_ties", "true", "00" * 32)
    linear = Layout(("aa" * 32, "bb" * 32), [["*"]], "linear", False, bytes(32))
    assert linear.values((0, 0))["genes"] == {"aa" * 32: [["0", "1"]], "bb" * 32: [["0", "1"]]}


def test_groups():
    names = [*(f"model.layers.{i}.mlp.{j}.w" for i in range(5) for j in (0, 1)), "model.embed", "lm_head"]
    assert groups_of(names, ()) == [["*"]]
    assert groups_of(names, ("*embed", "*.mlp.1.*")) == [["*embed"], ["*.mlp.1.*"], ["*"]]
    assert groups_of(names, ("*",)) == [["*"]]
    by_two = groups_of(names, ("layers:2",))
    assert by_two[0] == ["model.layers.0.*", "model.layers.1.*"]
    assert len(by_two) == 4
    assert by_two[-1] == ["*"]
    found = [group_of(name, by_two, "genetic_merge") for name in names]
    assert found == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3]
    odd = ["a[0].1.w", "a[0].12.w"]
    assert [group_of(name, groups_of(odd, ("layers",)), "genetic_merge") for name in odd] == [0, 1]
    for asked in (("*.nothing",), ("*", "*embed"), ("*.", "*")):
        with pytest.raises(BadParameterError, match="holds no tensor"):
            groups_of(names, asked)
    with pytest.raises(BadParameterError, match="number of a layer"):
        groups_of(["w"], ("layers",))
