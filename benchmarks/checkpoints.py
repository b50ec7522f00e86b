"""Generates Llama-shaped bf16 checkpoints of any size from a seed; the values look like weights and mean nothing.

Matrices are normal with standard deviation 0.02, norms lie around 1. A fine-tune is the base plus a dense task vector
of `STEP` (2.5 % of the weights, a few units in the last place of bf16), rounded to bf16, so that, as in real ones, some
deltas are 0 and many are equal.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conjoin.wire.safetensors import encode_header

POOL_ELEMENTS = 1 << 22
RUN_ELEMENTS, MARK_ELEMENTS = 1 << 20, 1 << 11
SPREAD, STEP = 0.02, 0.0005


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama-like model; embeddings are tied below a hidden size of 4,096."""

    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    key_value: int

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes."""
        table: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocabulary, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        if not self.tied:
            table["lm_head.weight"] = (self.vocabulary, self.hidden)
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            table |= {
                f"{prefix}input_layernorm.weight": (self.hidden,),
                f"{prefix}post_attention_layernorm.weight": (self.hidden,),
                f"{prefix}self_attn.q_proj.weight": (self.hidden, self.hidden),
                f"{prefix}self_attn.k_proj.weight": (self.key_value, self.hidden),
                f"{prefix}self_attn.v_proj.weight": (self.key_value, self.hidden),
                f"{prefix}self_attn.o_proj.weight": (self.hidden, self.hidden),
                f"{prefix}mlp.gate_proj.weight": (self.intermediate, self.hidden),
                f"{prefix}mlp.up_proj.weight": (self.intermediate, self.hidden),
                f"{prefix}mlp.down_proj.weight": (self.hidden, self.intermediate),
            }
        return table

    @property
    def tied(self) -> bool:
        """Whether the output head is the embedding."""
        return self.hidden < 4096

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(map(prod, self.tensors().values()))

    def config(self) -> dict[str, object]:
        """The `config.json` of transformers."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.hidden // 64,
            "num_key_value_heads": self.key_value // 64,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
            "dtype": "bfloat16",
        }


SHAPES = {
    "2M": Shape(128, 352, 2, 13_000, 64),
    "16M": Shape(896, 4_864, 1, 1_200, 128),
    "50M": Shape(896, 4_864, 2, 22_000, 128),
    "158M": Shape(896, 4_864, 6, 76_400, 128),
    "0.5B": Shape(896, 4_864, 24, 151_936, 128),
    "7B": Shape(4_096, 11_008, 32, 32_000, 4_096),
}


def write_checkpoint(folder: Path, shape: Shape, seed: int, *, every: int = 1, step: float = STEP) -> None:
    """Write a Hugging Face folder: seed 0 is the base, any other seed the base plus a task vector of its own.

    Args:
        folder: made; holds one safetensors file and `config.json`.
        shape: what model.
        seed: which one.
        every: write only every so many layers whole. The others get a page every 2 MiB, so that no two leaves are
            equal, and holes, which read as zeros.
        step: standard deviation of the task vector.
    """
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(shape.config(), indent=2))
    table = shape.tensors()
    header, offsets, size_bytes = encode_header(
        [(name, "BF16", size) for name, size in table.items()], {"format": "pt"}
    )
    weights = np.random.default_rng(0).normal(0, SPREAD, POOL_ELEMENTS).astype(np.float32)
    steps = np.random.default_rng(seed).normal(0, step, POOL_ELEMENTS).astype(np.float32) if seed else None
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(size_bytes)
        file.write(header)
        for name, size in table.items():
            run = MARK_ELEMENTS if _is_hole(name, every) else RUN_ELEMENTS
            for start, bits in _values(name, size, weights, steps, seed, run):
                file.seek(offsets[name] + 2 * start)
                file.write(bits.data)


def _is_hole(name: str, every: int) -> bool:
    return "layers." in name and int(name.split(".")[2]) % every != 0


def _values(
    name: str,
    shape: tuple[int, ...],
    weights: npt.NDArray[np.float32],
    steps: npt.NDArray[np.float32] | None,
    seed: int,
    run: int,
) -> Iterator[tuple[int, npt.NDArray[np.uint16]]]:
    """Patterns of a tensor and where they begin; a run comes from anywhere in the pool, so no two leaves are equal."""
    digest = hashlib.sha256(name.encode()).digest()
    places, others = np.random.default_rng([*digest]), np.random.default_rng([seed, *digest])
    centre = np.float32(len(shape) == 1)
    for start in range(0, prod(shape), RUN_ELEMENTS):
        count = min(run, prod(shape) - start)
        place, other = (int(rng.integers(POOL_ELEMENTS - count + 1)) for rng in (places, others))
        values = weights[place : place + count] + centre
        if steps is not None:
            values = values + steps[other : other + count]
        bits = values.view(np.uint32)
        yield start, ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


if __name__ == "__main__":
    folder, shape, seed, every, *step = sys.argv[1:]
    write_checkpoint(Path(folder), SHAPES[shape], int(seed), every=int(every), step=float(*step or [STEP]))
