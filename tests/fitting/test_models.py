"""Models from folders and factories: the same logits as transformers, no code of a folder, every refusal by name."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conjoin.errors import BadDataError, InputError, MissingExtraError
from conjoin.fitting import machine
from conjoin.fitting.data import read_data
from conjoin.fitting.models import open_model, read_tensors
from conjoin.fitting.tasks import Task, read_head
from conjoin.store.checkpoint import open_checkpoint
from tests.fitting.nets import fill, net, save

NETS = "tests.fitting.nets"


def _copy(folder: Path, to: Path, **changes: Any) -> Path:
    """The folder with other values in its config.json."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | changes))
    return to


@pytest.mark.parametrize(("which", "names"), [("bert", 25), ("gpt2", 16)])
def test_the_same_logits_as_transformers(
    which: str, names: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    import transformers

    folder: Path = request.getfixturevalue(which)
    checkpoint = open_checkpoint(folder)
    model, tensors = open_model(checkpoint), read_tensors(checkpoint)
    assert (len(model.names), model.unused, model.missing, model.causal) == (names, (), (), which == "gpt2")
    data = read_data(save(tmp_path / "x.safetensors", input_ids=np.array([[1, 2, 3], [4, 5, 6]])))
    with machine.deterministic():
        logits = model.forward(tensors, data.take([0, 1]))
        kind = getattr(transformers, type(model.module).__name__)
        theirs = kind.from_pretrained(folder, attn_implementation="eager").eval()
        assert torch.equal(logits, theirs(**data.take([0, 1]).inputs).logits)
        doubled = {name: 2 * tensor for name, tensor in tensors.items()}
        assert not torch.equal(model.forward(doubled, data.take([0, 1])), logits), "the tensors given are the ones used"
        assert torch.equal(model.forward(tensors, data.take([0, 1])), logits)


def test_a_backbone_and_old_names_find_their_place(bert: Path, tmp_path: Path) -> None:
    folder = _copy(bert, tmp_path / "old")
    whole = read_tensors(open_checkpoint(bert))
    old = {
        name.removeprefix("bert.").replace("LayerNorm.weight", "LayerNorm.gamma"): tensor.numpy()
        for name, tensor in whole.items()
    }
    (folder / "model.safetensors").unlink()
    save(folder / "model.safetensors", **old, extra=np.zeros(2, np.float32))
    model = open_model(open_checkpoint(folder))
    assert model.names["embeddings.LayerNorm.gamma"] == "bert.embeddings.LayerNorm.weight"
    assert (model.unused, model.missing) == (("extra",), ())


def test_no_code_of_the_folder_runs(bert: Path, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    folder = _copy(
        bert,
        tmp_path / "evil",
        architectures=["Evil"],
        auto_map={"AutoConfig": "evil.EvilConfig", "AutoModelForSequenceClassification": "evil.Evil"},
        _attn_implementation="someone/kernel",
        attn_implementation="someone/kernel",
    )
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w')\nclass EvilConfig: pass\nclass Evil: pass\n")
    with pytest.raises(BadDataError, match="'Evil', which is no model class"):
        open_model(open_checkpoint(folder))
    unknown = _copy(folder, tmp_path / "unknown", model_type="evil")
    with pytest.raises(BadDataError, match="transformers cannot use it"):
        open_model(open_checkpoint(unknown))
    known = _copy(folder, tmp_path / "known", architectures=["BertForSequenceClassification"])
    model = open_model(open_checkpoint(known))
    assert model.module.config._attn_implementation == "eager"
    assert not trap.exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"architectures": []}, "names ''"),
        ({"architectures": ["pipeline"]}, "names 'pipeline'"),
        ({"architectures": ["os.system"]}, "no model class"),
        ({"architectures": ["BertConfig"]}, "no model class"),
        ({"architectures": ["PreTrainedModel"]}, "none of the model's tensors"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantised"),
        ({"num_attention_heads": 3}, "cannot make a BertForSequenceClassification"),
        ({"hidden_size": 12}, "other shapes than the model's"),
    ],
)
def test_configs_that_are_refused(bert: Path, tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    with pytest.raises(BadDataError, match=what):
        open_model(open_checkpoint(_copy(bert, tmp_path / "x", **changes)))


def test_a_file_alone_needs_a_factory(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(save(tmp_path / "w.safetensors", w=np.zeros(2, np.float32)))
    with pytest.raises(BadDataError, match=r"no config\.json") as refused:
        open_model(checkpoint)
    assert "--model package.module:function" in str(refused.value)


@pytest.mark.parametrize(
    ("factory", "what"),
    [
        ("no_such_module:make", "it cannot be imported"),
        (f"{NETS}:nothing", "it cannot be imported"),
        (NETS, "it cannot be imported"),
        (f"{NETS}:not_a_module", "returned a int"),
        (f"{NETS}:broken", "the function fails: no weights today"),
        (f"{NETS}:net", "none of the model's tensors"),
    ],
)
def test_factories_that_are_refused(tmp_path: Path, factory: str, what: str) -> None:
    checkpoint = open_checkpoint(save(tmp_path / "w.safetensors", other=np.zeros(2, np.float32)))
    with pytest.raises(BadDataError, match=what):
        open_model(checkpoint, factory)


def test_inputs_that_the_model_does_not_take(tmp_path: Path) -> None:
    state = {name: tensor.numpy() for name, tensor in fill(net()).state_dict().items()}
    checkpoint = open_checkpoint(save(tmp_path / "w.safetensors", **state))
    model, tensors = open_model(checkpoint, f"{NETS}:net"), read_tensors(checkpoint)
    strange = read_data(save(tmp_path / "a.safetensors", words=np.array([[1]])))
    with pytest.raises(BadDataError, match="takes no input called 'words'") as refused:
        model.forward(tensors, strange.take([0]))
    assert refused.value.hint == "it takes attention_mask, input_ids"
    more = read_data(save(tmp_path / "c.safetensors", input_ids=np.array([[1]]), token_type_ids=np.array([[0]])))
    assert model.forward(tensors, more.take([0])).shape == (1, 1, 6), "what tokenizers add is left out"
    far = read_data(save(tmp_path / "b.safetensors", input_ids=np.array([[1], [9]])))
    with pytest.raises(BadDataError, match="fails on examples 1 to 1") as refused:
        model.forward(tensors, far.take([1]))
    assert refused.value.hint is not None
    assert "input_ids (1, 1) torch.int64" in refused.value.hint


def test_bfloat16_is_read_exactly(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    values = torch.tensor([[1.5, -2.0], [0.25, 3.0]])
    save_file({"a": values.bfloat16(), "n": torch.tensor([1, 2]), "none": values[:0]}, tmp_path / "x.safetensors")
    found = read_tensors(open_checkpoint(tmp_path / "x.safetensors"))
    assert torch.equal(found["a"], values)
    assert found["n"].dtype == torch.int64
    assert found["none"].shape == (0, 2)


def test_a_task_puts_its_own_head_in_place(bert: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(bert)
    model, tensors = open_model(checkpoint), read_tensors(checkpoint)
    data = read_data(save(tmp_path / "x.safetensors", input_ids=np.array([[1, 2, 3]])))
    head = save(
        tmp_path / "h.safetensors", classifier__weight=np.zeros((2, 8), np.float32), classifier__bias=np.ones(2, "f4")
    )
    task = Task("ab" * 32, data, model, read_head(head, model))
    assert task.forward(tensors, task.batch([0])).tolist() == [[1, 1]], "two classes, though the model has three"
    assert task.features(tensors, task.batch([0])).shape == (1, 8)
    with pytest.raises(InputError):
        read_head(tmp_path / "none.safetensors", model)


def test_torch_missing_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError) as refused:
        machine.torch()
    assert refused.value.hint == "`pip install 'conjoin[torch]'`"
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match="Hugging Face"):
        machine.transformers()
