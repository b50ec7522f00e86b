"""Adapters of representation surgery: what moves a merged model's features to those of one task; learns nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadDataError, WrongAssetError
from conjoin.strategies.learned import AGAIN, float32_of

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Adapter:
    """One task's adapter: ẑ = z − W_up · ReLU(W_down z).

    Attributes:
        down: W_down, (rank, features) float64.
        up: W_up, (features, rank) float64.
    """

    down: Matrix
    up: Matrix

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The adapter that an asset holds under `adapters` for a contribution; `load_task(…).adapter` is made so.

        Raises:
            WrongAssetError: the values are no adapter.
        """
        rank = values.get("rank")
        down, up = (float32_of(values.get(part)) for part in ("down", "up"))
        if not isinstance(rank, int) or rank < 1 or down is None or up is None:
            raise WrongAssetError("these values are no adapter", hint=AGAIN)
        if len(down) != len(up) or not len(down) or len(down) % rank:
            raise WrongAssetError(f"{len(down)} and {len(up)} numbers are no adapter of rank {rank}", hint=AGAIN)
        return cls(down.reshape(rank, -1), up.reshape(-1, rank))

    def values(self) -> dict[str, Any]:
        """What an asset holds of it, rounded to float32."""
        return {"rank": len(self.down), "down": hex_of(self.down), "up": hex_of(self.up)}

    def __call__(self, features: npt.ArrayLike) -> Matrix:
        """The features that the task's head is to see, the same bits on every machine.

        Args:
            features: (…, features) of the merged model.

        Raises:
            BadDataError: they are of another width.
        """
        z = np.asarray(features, np.float64)
        if not z.ndim or z.shape[-1] != len(self.up):
            raise BadDataError(f"features of shape {z.shape} do not end in the adapter's width, {len(self.up)}")
        rows = z.reshape(-1, len(self.up))
        hidden = np.maximum(kernels.gemm(rows, self.down.T, wide=True), 0.0)
        return (rows - kernels.gemm(hidden, self.up.T, wide=True)).reshape(z.shape)


def hex_of(values: npt.ArrayLike) -> str:
    """Numbers as the hex of little-endian float32, as assets hold them."""
    return np.asarray(values, "<f4").tobytes().hex()
