"""The shapes the audit runs on: 4×4, and the matrices of two real models from their published configs; makes no tensor.

Sources: the `config.json` of `openai-community/gpt2-xl` and of `mistralai/Mistral-7B-v0.1` on the Hugging Face Hub.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["out in", "in out", "embedding"]
"""Which way a weight is stored, or that its rows are looked up."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One distinct shape of a model: the tensor that stands for it, and how many the model has.

    Attributes:
        name: the first tensor of this shape, as the checkpoint calls it.
        shape: rows and columns.
        count: how many tensors of this shape the model has.
        kind: what its rows and columns are.
    """

    name: str
    shape: tuple[int, int]
    count: int
    kind: Kind = "out in"

    @property
    def elements(self) -> int:
        """Rows times columns."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True, slots=True)
class Shapes:
    """What one part of the audit runs on.

    Attributes:
        name: as `--shapes` takes it.
        title: for people.
        layers: one for each distinct shape.
        raw_format: format of the tensors in Phase 1.
        values: format whose numbers the tensors hold in Phase 1, and their format in Phase 2.
        trials: how many independent draws of the models.
        vector_elements: elements of the tensors that are no matrices; they are not run on.
    """

    name: str
    title: str
    layers: tuple[Layer, ...]
    raw_format: Literal["F32", "F64"]
    values: Literal["F16", "F64"]
    trials: int
    vector_elements: int = 0

    @property
    def parameters(self) -> int:
        """Elements of the whole model."""
        return sum(layer.elements * layer.count for layer in self.layers) + self.vector_elements


CONTROLLED = Shapes("4x4", "4×4", (Layer("w", (4, 4), 1),), "F64", "F64", trials=20)


def _gpt2_xl() -> Shapes:
    """n_layer 48, n_embd 1600, n_positions 1024, vocab_size 50257; weights are stored in × out, the head is tied."""
    blocks, d, positions, vocab = 48, 1600, 1024, 50_257
    layers = (
        Layer("h.0.attn.c_attn.weight", (d, 3 * d), blocks, "in out"),
        Layer("h.0.attn.c_proj.weight", (d, d), blocks, "in out"),
        Layer("h.0.mlp.c_fc.weight", (d, 4 * d), blocks, "in out"),
        Layer("h.0.mlp.c_proj.weight", (4 * d, d), blocks, "in out"),
        Layer("wpe.weight", (positions, d), 1, "embedding"),
        Layer("wte.weight", (vocab, d), 1, "embedding"),
    )
    biases, norms = blocks * (3 * d + d + 4 * d + d), (2 * blocks + 1) * 2 * d
    return Shapes("gpt2-xl", "GPT-2-XL", layers, "F32", "F16", 1, biases + norms)


def _mistral_7b() -> Shapes:
    """num_hidden_layers 32, hidden_size 4096, intermediate_size 14336, 8 of 32 heads for keys, vocab_size 32000."""
    blocks, d, inner, vocab = 32, 4096, 14_336, 32_000
    keys = d * 8 // 32
    layers = (
        Layer("model.layers.0.self_attn.q_proj.weight", (d, d), 2 * blocks),
        Layer("model.layers.0.self_attn.k_proj.weight", (keys, d), 2 * blocks),
        Layer("model.layers.0.mlp.gate_proj.weight", (inner, d), 2 * blocks),
        Layer("model.layers.0.mlp.down_proj.weight", (d, inner), blocks),
        Layer("model.embed_tokens.weight", (vocab, d), 2, "embedding"),
    )
    return Shapes("mistral-7b", "Mistral-7B", layers, "F32", "F16", 1, (2 * blocks + 1) * d)


SHAPES = {shapes.name: shapes for shapes in (CONTROLLED, _gpt2_xl(), _mistral_7b())}
"""By name, in the order of the report."""
