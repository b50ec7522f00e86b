"""Learning: the numbers of one step by hand, what must not move, and that an asset is applied as it was learned."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conjoin.errors import BadDataError  # noqa: E402
from conjoin.fitting.data import Data  # noqa: E402
from conjoin.fitting.learning import ada_merging, adarank, dam, descent, surgery  # noqa: E402
from conjoin.fitting.learning.problem import Problem, Settings  # noqa: E402
from conjoin.fitting.models import build  # noqa: E402
from conjoin.fitting.surgery import Adapter  # noqa: E402
from conjoin.fitting.tasks import Task  # noqa: E402
from conjoin.wire.digest import Digest  # noqa: E402

ONE, TWO, THREE = (Digest(byte * 32) for byte in ("11", "22", "33"))
NOTHING = Digest("00" * 32)


class Ray(torch.nn.Module):
    """Logits (w · x, 0)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1, width))

    def forward(self, x):
        z = x @ self.w.T
        return torch.cat([z, torch.zeros_like(z)], -1)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.out = torch.nn.Linear(4, 6), torch.nn.LayerNorm(6), torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.out(torch.relu(self.norm(self.inner(x))))


def data_of(x, seed="aa") -> Data:
    return Data("memory", seed * 32, {"x": np.asarray(x, np.float32)}, None, {})


def inputs(salt: int, rows: int = 8):
    return [[((salt + 3) * (7 * i + 5 * j) % 17 - 8) / 8 for j in range(4)] for i in range(rows)]


def net_tensors(salt: int):
    shapes = {name: tuple(t.shape) for name, t in Net().state_dict().items()}
    start = {"norm.weight": 1.0}
    return {
        name: torch.tensor(
            np.array([((salt * 31 + 7 * i * i + 3 * i + at) % 23 - 11) / 20 for i in range(int(np.prod(shape)))])
            .reshape(shape)
            .astype(np.float32)
        )
        + start.get(name, 0.0)
        for at, (name, shape) in enumerate(shapes.items())
    }


def ray_problem(strategy, base, thetas, x, settings, head=None) -> Problem:
    model = build(Ray(len(base)), "ray", {"w": (1, len(base))})
    tensors = {d: {"w": torch.tensor([theta])} for d, theta in zip((ONE, TWO, THREE), thetas, strict=False)}
    tasks = {d: Task(d, data_of([x]), model, head or {}) for d in tensors}
    return Problem(strategy, NOTHING, {"w": torch.tensor([base])}, tensors, tasks, settings)


def net_problem(strategy, settings, digests=(ONE, TWO), same=False) -> Problem:
    base = net_tensors(0)
    model = build(Net(), "net", {name: tuple(t.shape) for name, t in base.items()})
    tensors = {d: net_tensors(1 if same else i + 1) for i, d in enumerate(digests)}
    tasks = {d: Task(d, data_of(inputs(i), "ab"), model) for i, d in enumerate(digests)}
    return Problem(strategy, NOTHING, base, tensors, tasks, settings)


def test_ada_merging_one_step_by_hand():
    """Logits (λ, 0) at λ = 0.3: the entropy is .6820225, its slope −.0733375, so Adam goes to 0.301."""
    problem = ray_problem("ada_merging", [0.0], [[1.0]], [1.0], Settings(steps=1))
    asset = ada_merging.fit(problem)
    assert asset.values == {"scale": {"w": {ONE: "0.301"}}}
    assert asset.evidence["loss"]["start"].startswith("0.682022")
    assert float(asset.evidence["loss"]["end"]) < 0.682
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    descent.mean_entropy(torch.stack([scale, torch.zeros((), dtype=torch.float64)])[None], None).backward()
    assert float(scale.grad) == pytest.approx(-0.0733375, abs=5e-8)


def test_gradients_through_the_merged_tensors_are_those_of_the_whole_sum():
    problem = net_problem("ada_merging", Settings(steps=1))
    scales = torch.full((len(problem.names), 2), 0.3, dtype=torch.float64, requires_grad=True)
    found = []

    class Recorder:
        def zero_grad(self):
            scales.grad = None

        def step(self):
            found.append(scales.grad.clone())

    def merge():
        return {
            name: problem.base[name]
            + sum(
                row[at].float() * (problem.contributions[d][name] - problem.base[name])
                for at, d in enumerate(problem.digests)
            )
            for name, row in zip(problem.names, scales, strict=True)
        }

    def loss(digest, tensors, batch):
        return descent.mean_entropy(problem.tasks[digest].forward(tensors, batch), None)

    losses = descent.descend(problem, merge, loss, Recorder(), lambda: scales.square().sum())
    total = sum(loss(d, merge(), problem.batch(d, 0)) for d in problem.digests) + scales.square().sum()
    (expected,) = torch.autograd.grad(total, [scales])
    assert torch.allclose(found[0], expected, rtol=1e-5, atol=1e-7)
    assert losses[0] == losses[1]


def test_ada_merging_stays_between_0_and_1():
    problem = ray_problem("ada_merging", [0.0], [[1.0]], [1.0], Settings(steps=12, rate="0.1"))
    assert ada_merging.fit(problem).values == {"scale": {"w": {ONE: "1"}}}


def test_ada_merging_without_a_slope_stays_task_arithmetic():
    """Uniform heads: no input changes the prediction."""
    problem = net_problem("ada_merging", Settings(steps=3))
    head = {name: torch.zeros_like(t) for name, t in problem.base.items() if name.startswith("out")}
    flat = replace(problem, tasks={d: replace(task, head=head) for d, task in problem.tasks.items()})
    values = ada_merging.fit(flat).values["scale"]
    assert values == {name: {ONE: "0.3", TWO: "0.3"} for name in problem.names}
    assert ada_merging.fit(problem).values["scale"] != values


def test_ada_merging_of_equal_task_vectors_moves_them_alike():
    values = ada_merging.fit(net_problem("ada_merging", Settings(steps=3), same=True)).values["scale"]
    assert all(row[ONE] == row[TWO] for row in values.values())


def test_task_wise_coefficients_stand_for_every_tensor():
    values = ada_merging.fit(net_problem("ada_merging", Settings(steps=2)), task_wise=True).values
    assert list(values["scale"]) == ["*"]
    assert set(values["scale"]["*"].values()) - {"0.3"}


def test_plus_plus_learns_on_what_is_elected():
    """Opposite signs at density 1: of (2, 1) and (−1, 1) the −1 goes, so its coefficient only moves by the second."""
    problem = ray_problem("ada_merging", [0.0, 0.0], [[2.0, 1.0], [-1.0, 1.0]], [1.0, 0.0], Settings(steps=1))
    assert ada_merging.fit(problem, plus_plus=True, density="1").values["scale"]["w"] == {ONE: "0.301", TWO: "0.3"}
    assert ada_merging.fit(problem).values["scale"]["w"] == {ONE: "0.301", TWO: "0.299"}


def test_weights_count_in_what_is_learned():
    problem = ray_problem("ada_merging", [0.0], [[1.0]], [1.0], Settings(steps=1))
    heavy = ada_merging.fit(replace(problem, weights={ONE: Fraction(2)}))
    assert heavy.evidence["loss"]["start"].startswith("0.65009")  # the entropy of logits (0.6, 0)


def test_adarank_drops_what_makes_predictions_uncertain():
    """τ = diag(3, −1) at x = (1, 1): the second value lowers the first logit, so its bit goes, from 0.1 at 0.06."""

    class Square(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(2, 2))

        def forward(self, x):
            z = (x @ self.w.T).sum(-1, keepdim=True)
            return torch.cat([z, torch.zeros_like(z)], -1)

    model, tau = build(Square(), "square", {"w": (2, 2)}), torch.tensor([[3.0, 0.0], [0.0, -1.0]])
    task = Task(ONE, data_of([[1.0, 1.0]]), model)
    problem = Problem(
        "adarank", NOTHING, {"w": torch.zeros(2, 2)}, {ONE: {"w": tau}}, {ONE: task}, Settings(steps=2, rate="0.06")
    )
    assert adarank.fit(problem).values["kept"] == {"w": {ONE: "10"}}
    start = adarank.fit(replace(problem, settings=Settings(steps=0)), initial=0.5)
    assert start.values == {"kept": {"w": {ONE: "10"}}, "scale": {"w": {ONE: "0.3"}}}


def test_adarank_gradient_goes_through_the_mask():
    b = torch.tensor([0.1, -0.1], requires_grad=True)
    mask = adarank.straight_through(b)
    assert mask.tolist() == [1.0, 0.0]
    mask.sum().backward()
    soft = torch.sigmoid(torch.tensor([0.01, -0.01]))
    assert torch.allclose(b.grad, soft * (1 - soft) / 10)


def test_adarank_around_the_mean_starts_from_2_3():
    values = adarank.fit(net_problem("adarank", Settings(steps=0)), initial=0.16, origin="mean").values
    assert values["origin"] == "mean"
    assert {v for row in values["scale"].values() for v in row.values()} == {"2.3"}
    assert set(values["kept"]["inner.weight"].values()) == {"1000"}


def test_adarank_learns_no_masks_for_vectors_or_tables():
    values = adarank.fit(net_problem("adarank", Settings(steps=1))).values
    assert sorted(values["kept"]) == ["inner.weight", "out.weight"]
    assert {len(bits) for bits in values["kept"]["out.weight"].values()} == {3}
    assert sorted(values["scale"]) == [
        "inner.bias",
        "inner.weight",
        "norm.bias",
        "norm.weight",
        "out.bias",
        "out.weight",
    ]


def test_dam_one_step_by_hand():
    """W = (1, 0) and (0, 1) at x = (1, 0): the student's logit is ½, the teacher's 1; the slope is 2 (σ(¼) − σ(½))."""
    student = torch.tensor([[0.5, 0.0]], dtype=torch.float64, requires_grad=True)
    dam.distillation(student, torch.tensor([[1.0, 0.0]], dtype=torch.float64), 2.0).backward()
    assert float(student.grad[0, 0]) == pytest.approx(-0.1205657, abs=5e-8)
    problem = ray_problem("dam", [0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], [1.0, 0.0], Settings(steps=1))
    one = replace(problem, tasks={d: problem.tasks[ONE] for d in (ONE, TWO)})
    values = dam.fit(one, cosine=0.0).values["coefficient"]["w"]
    # both tasks are taught on x = (1, 0); the second's teacher says 0, and pulls c₁ down more than the first pulls up
    first, second = (np.frombuffer(bytes.fromhex(values[d]), "<f4") for d in (ONE, TWO))
    assert first.tolist() == [np.float32(0.998), 1.0]
    assert second.tolist() == [1.0, 1.0]


def test_dam_once_through_the_longest_data_unless_told_otherwise():
    problem = net_problem("dam", dam.SETTINGS)
    assert dam.fit(problem).evidence["steps"] == 8


@pytest.mark.parametrize("digests", [(ONE,), (ONE, TWO), (ONE, TWO, THREE)])
def test_dam_of_equal_contributions_stays_where_it_is(digests):
    asset = dam.fit(net_problem("dam", Settings(steps=3, batch=2), digests, same=True))
    for rows in asset.values["coefficient"].values():
        for row in rows.values():
            assert set(np.frombuffer(bytes.fromhex(row), "<f4").tolist()) == {1.0}
    assert asset.evidence["loss"] == {"start": "0", "end": "0"}


def test_dam_has_one_number_for_a_bias_and_one_per_column_for_a_matrix():
    values = dam.fit(net_problem("dam", Settings(steps=1))).values["coefficient"]
    lengths = {name: len(row[ONE]) // 8 for name, row in values.items()}
    expected = {"inner.weight": 4, "inner.bias": 1, "norm.weight": 6, "norm.bias": 1, "out.weight": 6, "out.bias": 1}
    assert lengths == expected


def test_the_cosine_is_pushed_apart_and_flat_where_all_are_equal():
    rows = torch.full((2, 3), 0.5, dtype=torch.float64, requires_grad=True)
    dam.mean_cosine([rows]).backward()
    assert rows.grad.abs().max() < 1e-15
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert float(dam.mean_cosine([apart])) == 0
    assert float(dam.mean_cosine([apart[:1]])) == 0


def test_filtered_moves_only_the_largest_momentum_of_each_row():
    row = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    (row * torch.tensor([[1.0, -4.0, 2.0, 0.5], [0.0, 0.0, 3.0, 1.0]])).sum().backward()
    dam.Filtered([row], 0.001, 0.3).step()
    expected = [[0, 0.001, -0.001, 0], [0, 0, -0.001, -0.001]]
    assert np.abs(row.detach().numpy() - expected).max() < 1e-10


def test_surgery_one_step_by_hand(monkeypatch):
    """z = 2, zᵢ = 1.5, W_down = 1, W_up = 0: the slope is −2 · sgn(0.5), so W_up goes to .001 and ẑ to 1.998."""

    class Scalar(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.head = torch.nn.Parameter(torch.zeros(1, 1)), torch.nn.Linear(1, 1)

        def forward(self, x):
            return self.head(x @ self.w.T)

    monkeypatch.setattr(surgery, "down_start", lambda *_: torch.ones(1, 1))
    model = build(Scalar(), "scalar", {"w": (1, 1)})
    head = {"head.weight": torch.ones(1, 1), "head.bias": torch.zeros(1)}
    tensors = {ONE: {"w": torch.tensor([[1.5]])}, TWO: {"w": torch.tensor([[2.5]])}}
    tasks = {d: Task(d, data_of([[1.0]]), model, head) for d in tensors}
    problem = Problem("representation_surgery", NOTHING, {}, tensors, tasks, Settings(steps=1))
    adapter = Adapter.of(surgery.fit(problem, rank=1).values["adapters"][ONE])
    assert adapter.up[0, 0] == pytest.approx(0.001, rel=1e-6)
    assert adapter([2.0]).tolist() == pytest.approx([1.998], abs=3e-6)  # W_down does not move: its slope is W_up's 0


def test_surgery_lowers_the_distance():
    loss = surgery.fit(net_problem("representation_surgery", Settings(steps=30))).evidence["loss"]
    assert float(loss["end"]) < float(loss["start"])


def test_surgery_says_on_which_backbone_it_learned():
    problem = net_problem("representation_surgery", Settings(steps=1))
    given = {inner: surgery.fit(problem, inner=inner).values["inner"] for inner in ("task_arithmetic", "ties")}
    assert given["task_arithmetic"] == {"strategy": "task_arithmetic", "scale": "0.3"}
    assert given["ties"] == {"strategy": "ties", "density": "0.2"}
    assert surgery.fit(problem).values["inner"] == {"strategy": "weight_average"}


@pytest.mark.parametrize("digests", [(ONE,), (ONE, TWO)])
def test_surgery_of_equal_contributions_stays_at_zero(digests):
    asset = surgery.fit(net_problem("representation_surgery", Settings(steps=3), digests, same=True))
    assert all(set(one["up"]) == {"0"} for one in asset.values["adapters"].values())
    assert asset.evidence["loss"] == {"start": "0", "end": "0"}


def test_adapters_start_in_the_range_of_kaiming():
    down = surgery.down_start(0, ONE, 16, 9)
    assert down.shape == (16, 9)
    assert float(down.abs().max()) < 1 / 3
    assert float(down.abs().max()) > 0.3
    assert not torch.equal(down, surgery.down_start(0, TWO, 16, 9))


FITS = {"ada_merging": ada_merging.fit, "adarank": adarank.fit, "dam": dam.fit, "representation_surgery": surgery.fit}


@pytest.mark.parametrize("strategy", FITS)
def test_the_same_asset_again_and_another_with_another_seed(strategy):
    problem = net_problem(strategy, Settings(steps=2, batch=2))
    first = FITS[strategy](problem)
    assert FITS[strategy](problem).digest == first.digest
    other = FITS[strategy](replace(problem, settings=Settings(steps=2, batch=2, seed=1)))
    assert other.values != first.values
    assert first.contributions == (ONE, TWO)
    assert first.evidence["data"] == {ONE: "ab" * 32, TWO: "ab" * 32}


@pytest.mark.parametrize("strategy", FITS)
def test_without_data(strategy):
    problem = net_problem(strategy, Settings(steps=1))
    with pytest.raises(BadDataError, match="1 of 2 contributions have no data") as error:
        replace(problem, tasks={ONE: problem.tasks[ONE]})
    assert TWO in str(error.value)


def test_a_task_sees_all_its_examples_before_one_comes_again():
    problem = net_problem("dam", Settings(steps=1, batch=3))
    seen = [i for step in range(8) for i in problem.batch(ONE, step).indices]
    assert sorted(seen[:8]) == sorted(seen[8:16]) == sorted(seen[16:]) == list(range(8))
    assert seen[:8] != seen[8:16]


def test_permuted_contributions_permute_coefficients():
    problem = ray_problem("ada_merging", [0.0], [[1.0], [-0.5]], [1.0], Settings(steps=3))
    swapped = replace(problem, contributions={ONE: problem.contributions[TWO], TWO: problem.contributions[ONE]})
    first, second = (ada_merging.fit(one).values["scale"]["w"] for one in (problem, swapped))
    assert (first[ONE], first[TWO]) == (second[TWO], second[ONE])


def test_numbers_that_run_away_are_named():
    problem = ray_problem("ada_merging", [0.0], [[3e38]], [3e38], Settings(steps=1))
    with pytest.raises(BadDataError, match="the loss became nan in step 1"):
        ada_merging.fit(problem)


def test_adapters_of_any_shape():
    adapter = Adapter(np.array([[1.0, 0.0], [0.0, -1.0]]), np.array([[0.5, 0.0], [0.0, 0.25]]))
    assert adapter([[2.0, 4.0], [-2.0, -4.0]]).tolist() == [[1.0, 4.0], [-2.0, -5.0]]
    assert adapter(np.ones((2, 3, 2))).shape == (2, 3, 2)
    assert Adapter.of(adapter.values()) is not None
    with pytest.raises(BadDataError, match="adapter's width, 2"):
        adapter([1.0, 2.0, 3.0])
