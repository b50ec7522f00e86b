"""Generates Llama-shaped bf16 checkpoints of any size from a seed; the values look like weights and mean nothing."""

import sys
from pathlib import Path

import numpy as np

from conjoin.wire.safetensors import encode_header

HIDDEN, INTERMEDIATE, LAYERS, VOCABULARY, KEY_VALUE = 896, 4864, 24, 151_936, 128


def shapes(layers: int = LAYERS, vocabulary: int = VOCABULARY) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes; the defaults give 494 million parameters."""
    table: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        table |= {
            f"{prefix}input_layernorm.weight": (HIDDEN,),
            f"{prefix}post_attention_layernorm.weight": (HIDDEN,),
            f"{prefix}self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            f"{prefix}self_attn.k_proj.weight": (KEY_VALUE, HIDDEN),
            f"{prefix}self_attn.v_proj.weight": (KEY_VALUE, HIDDEN),
            f"{prefix}self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{prefix}mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{prefix}mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{prefix}mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
        }
    return table


def write_checkpoint(path: Path, seed: int, table: dict[str, tuple[int, ...]]) -> None:
    """Write one safetensors file: seed 0 is the base, any other seed the base plus a small task vector."""
    tensors = [(name, "BF16", shape) for name, shape in table.items()]
    header, offsets, size_bytes = encode_header(tensors, {"format": "pt"})
    pool = 1 << 22
    base = np.random.default_rng(0).normal(0, 0.02, pool).astype(np.float32)
    step = np.random.default_rng(seed).normal(0, 0.002, pool + 9973).astype(np.float32) if seed else None
    with path.open("wb") as file:
        file.truncate(size_bytes)
        file.write(header)
        for name, shape in table.items():
            file.seek(offsets[name])
            remaining, turn = int(np.prod(shape)), len(name)
            while remaining:
                values = base if step is None else base + step[turn % 9973 : turn % 9973 + pool]
                bits = (values.view(np.uint32) >> 16).astype(np.uint16)[:remaining]
                file.write(bits.tobytes())
                remaining, turn = remaining - len(bits), turn + 4409


if __name__ == "__main__":
    write_checkpoint(Path(sys.argv[1]), int(sys.argv[2]), shapes(int(sys.argv[3]), int(sys.argv[4])))
