"""Small models whose statistics can be written down by hand, and files of examples for them."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn


class Logistic(nn.Module):
    """Two classes: logits (0, w · x)."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.idle = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = x @ self.w
        return torch.stack([torch.zeros_like(z), z], -1)


class Net(nn.Module):
    """An embedding, two Linears of which the last is tied to it, and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 4)
        self.inner = nn.Linear(4, 4)
        self.conv = nn.Conv1d(4, 4, 3, padding="same")
        self.out = nn.Linear(4, 6, bias=False)
        self.out.weight = self.words.weight
        self.causal = True

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        x = self.inner(self.words(input_ids))
        return {"logits": self.out(x + self.conv(x.transpose(1, 2)).transpose(1, 2))}


def logistic() -> nn.Module:
    return Logistic()


def net() -> nn.Module:
    return Net()


def pooled() -> nn.Module:
    """A model for pictures: a convolution with stride and padding, then a classifier without its weights tied."""
    return nn.Sequential(nn.Conv2d(2, 3, 2, stride=2, padding=1), nn.Flatten(), nn.Linear(27, 3))


class Pictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = pooled()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.body(pixels)


def pictures() -> nn.Module:
    return Pictures()


class Encoder(nn.Module):
    """One layer of torch's own transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def encoder() -> nn.Module:
    return Encoder()


class Odd(nn.Module):
    """A weight and nothing that is a module; what it returns is chosen by the test."""

    def __init__(self, returned: str) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, 2))
        self.returned = returned

    def forward(self, **inputs: torch.Tensor) -> object:
        z = inputs["x"] @ self.w
        return {"tuple": (z, 3), "nothing": (), "one class": z[:, :1], "four dimensions": z[None, None]}[self.returned]


def as_tuple() -> nn.Module:
    return Odd("tuple")


def as_nothing() -> nn.Module:
    return Odd("nothing")


def as_one_class() -> nn.Module:
    return Odd("one class")


def as_four_dimensions() -> nn.Module:
    return Odd("four dimensions")


def not_a_module() -> int:
    return 3


def broken() -> nn.Module:
    raise RuntimeError("no weights today")


def numbers(*shape: int, start: int = 1) -> np.ndarray:
    """Float32 multiples of 1/64 between -1 and 1, the same everywhere."""
    count = int(np.prod(shape))
    state, found = start, []
    for _ in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        found.append(((state >> 12) % 129 - 64) / 64)
    return np.array(found, np.float32).reshape(shape)


def fill(module: nn.Module, start: int = 1) -> nn.Module:
    """Give every parameter values of our own."""
    with torch.no_grad():
        for place, parameter in enumerate(module.parameters()):
            parameter.copy_(torch.from_numpy(numbers(*parameter.shape, start=start + place)))
    return module


def save(path: Path, **tensors: object) -> Path:
    """A safetensors file of these arrays; `__` in a name stands for a dot."""
    save_file({name.replace("__", "."): np.asarray(value) for name, value in tensors.items()}, path)
    return path


def lines(path: Path, *values: object) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path
