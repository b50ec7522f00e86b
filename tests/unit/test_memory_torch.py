"""Merging torch tensors in memory: kind, dtype, layout and device kept, the same bytes as NumPy arrays."""

from typing import Any

import numpy as np
import pytest

from conjoin.errors import UnsupportedDtypeError
from conjoin.memory import CRDTMergeState, resolve

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_kind_dtype_shape_and_layout(dtype: str) -> None:
    kind = getattr(torch, dtype)
    a, b, base = (torch.randn(4, 6).to(kind) for _ in range(3))
    result = resolve([a.T, torch.nn.Parameter(b).T], "ties", base=base.T)
    assert isinstance(result, torch.Tensor)
    assert (result.dtype, result.shape, result.device) == (kind, (6, 4), a.device)
    assert torch.equal(result, resolve([a.T.contiguous(), b.T.contiguous()], "ties", base=base.T))
    assert resolve([a[0, 0], b[0, 0]], "linear").shape == ()
    assert resolve([a[:0], b[:0]], "linear").shape == (0, 6)


def test_torch_and_numpy_give_the_same_bytes() -> None:
    models = [{"w": torch.randn(50), "n": torch.tensor(3), "f": torch.tensor([True, False])} for _ in range(3)]
    arrays = [{name: tensor.numpy() for name, tensor in model.items()} for model in models]
    ours, theirs = (resolve(given[1:], "dare", base=given[0]) for given in (models, arrays))
    assert all(np.array_equal(ours[name].numpy(), theirs[name]) for name in theirs)
    state = CRDTMergeState("dare", base=models[0])
    state.add(models[1])
    state.add(models[2])
    assert torch.equal(state.resolve()["w"], ours["w"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, dtype=torch.complex64),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.empty(3, device="meta"),
    ],
)
def test_what_has_no_plain_bytes_is_refused(make: Any) -> None:
    with pytest.raises(UnsupportedDtypeError):
        resolve([make()], "linear")


def test_what_was_added_may_change_afterwards_and_results_are_apart() -> None:
    a, b = torch.randn(50), torch.randn(50)
    before = a.clone()
    state = CRDTMergeState("weight_average")
    state.add(a)
    state.add(b)
    plain = resolve([a, b], "weight_average")
    resolve([a], "weight_average").zero_()
    assert torch.equal(a, before)
    a.zero_()
    assert torch.equal(state.resolve(), plain)
