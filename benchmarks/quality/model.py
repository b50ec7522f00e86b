"""The net that is merged: three convolutions and a layer of features, compared with frozen prototypes of the classes.

Only the encoder is trained and merged, as with CLIP; a task's head is the direction of its classes' mean base features.
Convolutions are matrices on the pieces of a signal, so that every weight is out × in.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, pad

from benchmarks.quality.data import CLASSES

Arrays = Mapping[str, np.ndarray[Any, Any]]
"""Tensors of the encoder by name, as they are merged."""

FEATURES = 128
STRIDE = 2
SHARPNESS = 12.0
"""What a cosine is multiplied with to be a logit."""
HEAD = "head.weight"


class CosineHead(nn.Linear):
    """Logits from cosines between features and the classes' prototypes."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in torch
        """(n, FEATURES) → (n, classes)."""
        return SHARPNESS * linear(normalize(input, dim=-1), normalize(self.weight, dim=-1))


class Net(nn.Module):
    """The encoder, 60 thousand parameters, and a head."""

    def __init__(self) -> None:
        """As torch initialises it."""
        super().__init__()
        self.conv1 = nn.Linear(5, 32)
        self.conv2 = nn.Linear(3 * 32, 64)
        self.conv3 = nn.Linear(3 * 64, 64)
        self.linear = nn.Linear(5 * 64, FEATURES)
        self.head = CosineHead(FEATURES, CLASSES, bias=False)

    def features(self, signals: Tensor) -> Tensor:
        """(n, LENGTH) → (n, FEATURES)."""
        x = signals[:, :, None]
        for layer, taps in ((self.conv1, 5), (self.conv2, 3), (self.conv3, 3)):
            places, around = x.shape[1], pad(x, (0, 0, taps // 2, taps // 2))
            pieces = torch.cat([around[:, tap : tap + places : STRIDE] for tap in range(taps)], 2)
            x = torch.relu(layer(pieces))
        return self.linear(x.flatten(1))

    def forward(self, signals: Tensor) -> Tensor:
        """(n, LENGTH) → logits (n, classes)."""
        return self.head(self.features(signals))


def make() -> Net:
    """What `conjoin stats --model` and `conjoin fit --model` call."""
    return Net()


def encoder_of(net: Net) -> dict[str, np.ndarray[Any, Any]]:
    """Its tensors but the head's."""
    return {name: value.detach().numpy().copy() for name, value in net.state_dict().items() if name != HEAD}


def net_of(encoder: Arrays, head: np.ndarray[Any, Any] | None = None) -> Net:
    """A net with these tensors."""
    net = Net()
    given = dict(encoder) if head is None else {**encoder, HEAD: head}
    net.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in given.items()}, strict=False)
    return net.eval()
