"""Tiny Hugging Face folders made from a config: BERT with a classifier, GPT-2 with a language model's head."""

from pathlib import Path

import pytest

from tests.e2e.shell import here as here
from tests.fitting.nets import fill

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "and", "very"],
]


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    hf = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert") / "bert"
    config = hf.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=16,
        num_labels=3,
    )
    fill(hf.BertForSequenceClassification(config), 7).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    hf.BertTokenizer(str(folder / "vocab.txt"), model_max_length=16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    hf = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("gpt2") / "gpt2"
    config = hf.GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    fill(hf.GPT2LMHeadModel(config), 3).save_pretrained(folder)
    return folder
