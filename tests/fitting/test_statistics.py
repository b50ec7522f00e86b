"""Side-cars from models: against hand-computed values, against XᵀX/n, and the same bytes every time."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from conjoin.errors import BadDataError, MissingFileError, NonFiniteError, OutputExistsError
from conjoin.fitting.statistics import Run, Statistic, features, fisher, gram, importance, of_base, open_run, write
from conjoin.store.checkpoint import open_checkpoint
from tests.fitting.nets import Odd, encoder, fill, lines, net, numbers, pictures, save

NETS = "tests.fitting.nets"
X = np.array([[2, 0], [0, 4], [2, 4]], np.float32)
LN3 = float(np.log(3.0))


def _logistic(folder: Path, w: list[float], labels: list[int] | None = None, name: str = "w") -> Run:
    """The model (0, w · x) on X; with `labels` the loss is of them."""
    checkpoint = save(folder / f"{name}.safetensors", w=np.array(w, np.float32), idle=np.ones(3, np.float32))
    data = save(folder / f"{name}-x.safetensors", x=X, **({} if labels is None else {"labels": np.array(labels)}))
    whose = "model" if labels is None else "given"
    return open_run(checkpoint, data, factory=f"{NETS}:logistic", labels=whose)


def _module(folder: Path, module: nn.Module, factory: str, **data: Any) -> Run:
    """A filled module of the test's own as checkpoint, on these inputs."""
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    checkpoint = save(folder / f"{factory}.safetensors", **state)
    return open_run(checkpoint, save(folder / f"{factory}-data.safetensors", **data), factory=f"{NETS}:{factory}")


def test_fisher_of_a_logistic_model_by_hand(tmp_path: Path) -> None:
    """E_y[(∂ log p)²] = p (1 − p) x²; at w = 0 that is x²/4."""
    made = fisher(_logistic(tmp_path, [0, 0]))
    assert made.tensors["w"].numpy() == pytest.approx([2 / 3, 8 / 3])
    assert made.tensors["idle"].tolist() == [0, 0, 0]
    assert made.notes == ("zero, as nothing the model says depends on them: idle",)
    assert (made.facts["examples"], made.facts["labels"]) == ("3", "model")


def test_fisher_weighs_outcomes_by_their_chance(tmp_path: Path) -> None:
    """p = ¾ where x₀ = 2: ¾ (x/4)² + ¼ (3x/4)² = 3/16 x²; ½ elsewhere."""
    made = fisher(_logistic(tmp_path, [LN3 / 2, 0]))
    assert made.tensors["w"].numpy() == pytest.approx([(3 / 16 * 4 * 2) / 3, (4 + 3 / 16 * 16) / 3])


def test_fisher_of_given_labels_is_the_empirical_one(tmp_path: Path) -> None:
    """(y − p)² x²."""
    made = fisher(_logistic(tmp_path, [LN3 / 2, 0], labels=[1, 0, 0]))
    assert made.tensors["w"].numpy() == pytest.approx([(4 / 16 + 9 / 16 * 4) / 3, (4 + 9 / 16 * 16) / 3])


def test_labels_below_zero_are_left_out(tmp_path: Path) -> None:
    made = fisher(_logistic(tmp_path, [0, 0], labels=[1, -100, -100]))
    assert made.tensors["w"].numpy() == pytest.approx([4 / 4 / 3, 0])


def test_importance_by_hand(tmp_path: Path) -> None:
    """|w ⊙ (p − y) x|; the base's own weights and gradients in its own scores."""
    run = _logistic(tmp_path, [LN3 / 2, 0], labels=[1, 0, 0])
    base = _logistic(tmp_path, [0, -0.5], name="base")
    made = importance(run, of_base(run, tmp_path / "base.safetensors"))
    p = 1 / (1 + np.exp(2.0))
    assert made.tensors["tuned.w"].numpy() == pytest.approx([LN3 / 2 * 2 * (1 / 4 + 3 / 4) / 3, 0])
    assert made.tensors["base.w"].numpy() == pytest.approx([0, 0.5 * 4 * (p + p) / 3])
    assert sorted(made.tensors) == ["base.idle", "base.w", "tuned.idle", "tuned.w"]
    assert base.data.digest != run.data.digest == made.facts["data"]


def test_importance_refuses_another_base(tmp_path: Path) -> None:
    run = _logistic(tmp_path, [0, 0])
    other = save(tmp_path / "other.safetensors", w=np.zeros(3, np.float32), more=np.zeros(1, np.float32))
    with pytest.raises(BadDataError, match="3 tensors' names or shapes: idle, more, w"):
        of_base(run, other)


IDS = np.array([[1, 2, 3, 0], [4, 5, 0, 0]])
MASK = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])


def test_gram_is_the_mean_outer_product_of_the_rows(tmp_path: Path) -> None:
    model = fill(net(), 5).eval()
    run = _module(tmp_path, model, "net", input_ids=IDS, attention_mask=MASK)
    made = gram(run)
    rows = model.words.weight[torch.tensor([1, 2, 3, 4, 5])].double()
    want = (rows.T @ rows / 5).float()
    assert torch.equal(made.tensors["inner.weight"], want)
    assert made.tensors["inner.weight"].dtype == torch.float32
    assert sorted(made.tensors) == ["conv.weight", "inner.weight"]
    assert made.notes == (
        "without a Gram, being tied to an embedding or a convolution in groups: out.weight, words.weight",
    )


def test_gram_of_convolutions_is_of_their_patches(tmp_path: Path) -> None:
    """The convolution is a product with the flattened kernel, so both give the same mean square of the output."""
    model = fill(pictures(), 2).eval()
    pixels = numbers(3, 2, 5, 5)
    made = gram(_module(tmp_path, model, "pictures", pixels=pixels))
    conv, linear = model.body[0], model.body[2]
    g = made.tensors["body.0.weight"].double()
    kernel = conv.weight.reshape(3, 8).double()
    with torch.no_grad():
        out = (conv(torch.from_numpy(pixels)) - conv.bias[:, None, None]).transpose(0, 1).reshape(3, -1).double()
        rows = conv(torch.from_numpy(pixels)).reshape(3, 27).double()
    assert torch.allclose(kernel @ g @ kernel.T, out @ out.T / out.shape[1], rtol=1e-5)
    assert torch.allclose(made.tensors["body.2.weight"].double(), rows.T @ rows / 3, rtol=1e-5)
    assert linear.weight.shape == (3, 27)
    same = gram(_module(tmp_path, fill(net(), 5), "net", input_ids=IDS[:, :3])).tensors["conv.weight"]
    assert same.shape == (12, 12)
    assert torch.equal(same, same.T)


def test_what_attention_computes_by_itself_has_no_gram(tmp_path: Path) -> None:
    """Torch's attention uses its weights without running them as modules; the two Linears beside it do run."""
    made = gram(_module(tmp_path, fill(encoder(), 4), "encoder", x=numbers(2, 3, 4)))
    assert sorted(made.tensors) == ["layer.linear1.weight", "layer.linear2.weight"]
    assert made.notes == (
        "without a Gram, as they never ran as a module of their own: layer.self_attn.out_proj.weight",
    )


def test_gram_of_conv1d_is_over_the_rows(gpt2: Path, tmp_path: Path) -> None:
    ids = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    run = open_run(gpt2, save(tmp_path / "ids.safetensors", input_ids=ids))
    made = gram(run)
    name = "transformer.h.0.attn.c_attn.weight"
    assert run.tensors[name].shape == (8, 24)
    assert sorted(made.tensors) == sorted(
        f"rows.transformer.h.0.{part}.weight" for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    )
    seen: list[torch.Tensor] = []
    module = run.model.module.transformer.h[0].attn.c_attn
    with torch.no_grad():
        hook = module.register_forward_pre_hook(lambda _, given: seen.append(given[0].reshape(-1, 8).double()))
        run.model.run(run.tensors, run.data.take([0, 1]))
        hook.remove()
    want = (seen[0].T @ seen[0] / 8).float()
    assert torch.allclose(made.tensors[f"rows.{name}"], want, rtol=1e-6, atol=1e-9)
    assert made.tensors["rows.transformer.h.0.mlp.c_proj.weight"].shape == (32, 32)


def test_features_are_what_the_last_linear_takes(bert: Path, tmp_path: Path) -> None:
    data = lines(tmp_path / "x.jsonl", {"text": "the cat sat"}, {"text": "a dog"})
    run = open_run(bert, data)
    made = features(run)
    assert made.tensors["features"].shape == (2, 8)
    with torch.no_grad():
        logits = run.model.forward(run.tensors, run.data.take([0]))
    head = run.tensors["classifier.weight"], run.tensors["classifier.bias"]
    assert torch.allclose(nn.functional.linear(made.tensors["features"][:1], *head), logits)
    named = features(run, "bert.pooler.dense").tensors["features"]
    assert named.shape == (2, 8)
    assert not torch.equal(named, made.tensors["features"])
    with pytest.raises(BadDataError, match="no module `nothing`"):
        features(run, "nothing")


def test_features_of_tokens_leave_out_what_is_not_real(tmp_path: Path) -> None:
    run = _module(tmp_path, fill(net(), 5), "net", input_ids=IDS, attention_mask=MASK)
    assert features(run, "inner").tensors["features"].shape == (5, 4)


def test_fisher_of_a_language_model_is_drawn_and_repeatable(gpt2: Path, tmp_path: Path) -> None:
    ids = save(tmp_path / "ids.safetensors", input_ids=np.array([[1, 2, 3, 4], [5, 6, 7, 8]]))
    first, again = (fisher(open_run(gpt2, ids)) for _ in range(2))
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in first.tensors)
    assert sorted(first.tensors) == sorted(tensor.name for tensor in open_checkpoint(gpt2).tensors)
    assert min(float(tensor.min()) for tensor in first.tensors.values()) >= 0
    unread = first.tensors["transformer.wpe.weight"]
    assert bool((unread[:3] > 0).any(1).all()), "three positions predict a token"
    assert not bool(unread[4:].any()), "no example is longer"
    write(first, tmp_path / "one")
    write(again, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    given = fisher(replace(open_run(gpt2, ids), labels="given"))
    assert not torch.equal(given.tensors["transformer.wpe.weight"], unread)


def test_drawn_labels_estimate_the_exact_expectation(tmp_path: Path) -> None:
    """Six classes at three tokens: the mean of many examples' draws comes near the expectation over all labels."""
    model = fill(net(), 5)
    model.causal = False
    run = _module(tmp_path, model, "net", input_ids=np.tile(IDS[:1, :2], (300, 1)))
    run = replace(run, model=replace(run.model, causal=False), examples=300)
    drawn = fisher(run).tensors["inner.bias"].double()
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in run.tensors.items()}
    logp = run.model.forward(leaves, run.data.take([0]))[0].log_softmax(-1)
    exact = torch.zeros(4, dtype=torch.float64)
    for row in logp:
        for value in row:
            (slope,) = torch.autograd.grad(value, [leaves["inner.bias"]], retain_graph=True)
            exact += value.detach().double().exp() * slope.double().square()
    assert torch.allclose(drawn, exact, rtol=0.25), (drawn, exact)


def test_tied_names_share_their_fisher(tmp_path: Path) -> None:
    """Both names of one weight get the Fisher of the sum of its uses."""
    model = fill(net(), 5)
    run = _module(tmp_path, model, "net", input_ids=IDS[:, :3])
    made = fisher(run)
    assert torch.equal(made.tensors["words.weight"], made.tensors["out.weight"])
    without = replace(run, tensors={name: tensor for name, tensor in run.tensors.items() if name != "out.weight"})
    assert torch.equal(fisher(without).tensors["words.weight"], made.tensors["words.weight"])


def test_a_head_of_its_own_completes_a_backbone(bert: Path, tmp_path: Path) -> None:
    import shutil

    whole = load_file(bert / "model.safetensors")
    backbone = tmp_path / "backbone"
    shutil.copytree(bert, backbone)
    (backbone / "model.safetensors").unlink()
    save(backbone / "model.safetensors", **{n: t for n, t in whole.items() if not n.startswith("classifier")})
    data = lines(tmp_path / "x.jsonl", {"text": "the cat sat"})
    with pytest.raises(BadDataError, match="lacks 2 of the model's tensors") as refused:
        fisher(open_run(backbone, data))
    assert "classifier.weight" in refused.value.what
    head = save(tmp_path / "head.safetensors", **{n: t for n, t in whole.items() if n.startswith("classifier")})
    made = fisher(open_run(backbone, data, head=head))
    want = fisher(open_run(bert, data))
    assert "classifier.weight" not in made.tensors
    assert all(torch.equal(tensor, want.tensors[name]) for name, tensor in made.tensors.items())
    with pytest.raises(BadDataError, match="no tensor called 'other'"):
        open_run(backbone, data, head=save(tmp_path / "strange.safetensors", other=np.zeros(1, np.float32)))


def test_labels_that_do_not_fit_are_named(bert: Path, gpt2: Path, tmp_path: Path) -> None:
    unlabelled = lines(tmp_path / "a.jsonl", {"text": "the cat"})
    with pytest.raises(BadDataError, match="the data has no labels"):
        fisher(open_run(bert, unlabelled, labels="given"))
    far = lines(tmp_path / "b.jsonl", {"text": "the cat", "label": 3})
    with pytest.raises(BadDataError, match="label 3 is not one of the model's 3 classes") as refused:
        fisher(open_run(bert, far, labels="given"))
    assert refused.value.where == f"{far}: example 0"
    one = save(tmp_path / "c.safetensors", input_ids=np.array([[1, 2]]), labels=np.array([1]))
    with pytest.raises(BadDataError, match="of shape \\(\\) per example; the model's logits need \\(2,\\)"):
        fisher(open_run(gpt2, one, labels="given"))


def test_labels_of_tokens_count_where_they_are_given(tmp_path: Path) -> None:
    """One label per token; below zero, or where the mask says there is no token, none is."""
    model = fill(net(), 5)
    labels = np.array([[3, -100, 2, 5]])
    found = [
        _module(tmp_path, model, "net", input_ids=IDS[:1], attention_mask=MASK[:1], labels=given)
        for given in (labels, np.array([[3, -1, 2, 0]]))
    ]
    first, second = (
        fisher(replace(run, model=replace(run.model, causal=False), labels="given")).tensors["inner.weight"]
        for run in found
    )
    assert torch.equal(first, second)
    run = replace(found[0], model=replace(found[0].model, causal=False))
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in run.tensors.items()}
    logp = run.model.forward(leaves, run.data.take([0]))[0].log_softmax(-1)
    (slope,) = torch.autograd.grad(logp[0, 3] + logp[2, 2], [leaves["inner.weight"]])
    assert torch.allclose(first, slope.square(), rtol=1e-5)


@pytest.mark.parametrize(
    ("factory", "what"),
    [
        ("as_nothing", "Odd gives no logits"),
        ("as_four_dimensions", "Odd gives no logits"),
        ("as_one_class", "the logits have one class"),
    ],
)
def test_models_that_give_no_distribution(tmp_path: Path, factory: str, what: str) -> None:
    run = _module(tmp_path, Odd(""), factory, x=X)
    with pytest.raises(BadDataError, match=what):
        fisher(run)


def test_modules_that_are_not_linear(tmp_path: Path) -> None:
    """The first of a tuple are the logits; a weight without a module has a Fisher and neither Gram nor features."""
    run = _module(tmp_path, Odd(""), "as_tuple", x=X)
    assert fisher(run).tensors["w"].numpy() == pytest.approx(np.array([[2 / 3] * 2, [8 / 3] * 2]))
    with pytest.raises(BadDataError, match="no Linear or convolution"):
        gram(run)
    with pytest.raises(BadDataError, match="no Linear ran"):
        features(run)


def test_nothing_is_written_that_the_gate_would_refuse(tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    wild = Statistic("fisher", {"w": torch.tensor([1.0, float("inf")]), "v": torch.zeros(1)}, {})
    with pytest.raises(NonFiniteError, match="fisher of 1 tensors holds NaN or Inf: w"):
        write(wild, out)
    assert not os.path.lexists(out)
    good = replace(wild, tensors={"w": torch.tensor([[1.0, 2.0]])}, facts={"kind": "fisher"})
    write(good, out)
    assert load_file(out)["w"].tolist() == [[1, 2]]
    assert os.listdir(tmp_path) == ["x.safetensors"]
    with pytest.raises(OutputExistsError):
        write(good, out)
    with pytest.raises(MissingFileError):
        write(good, tmp_path / "no" / "x")
