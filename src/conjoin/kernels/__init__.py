"""Arithmetic whose every bit is specified: formats, operations, draws, coefficients; opens nothing, knows no model."""

from conjoin.kernels.backend import backend_note, current, use
from conjoin.kernels.counting import Found, select_from_bottom, select_from_top
from conjoin.kernels.draws import DrawKey, draw_key, drop_threshold, effective_keep
from conjoin.kernels.formats import FORMATS, Format, decode, encode
from conjoin.kernels.layout import BLOCK_ELEMENTS, Aggregate, Trim
from conjoin.kernels.ops import (
    block_count,
    block_gram,
    block_l1,
    count_nonfinite,
    delta_sum,
    draws,
    elected_signs,
    fold_blocks,
    high_histograms,
    linear,
    low_histograms,
    tie_histograms,
    ties,
)
from conjoin.kernels.scalars import Coefficients, coefficients, nearest_f32

__all__ = [
    "BLOCK_ELEMENTS",
    "FORMATS",
    "Aggregate",
    "Coefficients",
    "DrawKey",
    "Format",
    "Found",
    "Trim",
    "backend_note",
    "block_count",
    "block_gram",
    "block_l1",
    "coefficients",
    "count_nonfinite",
    "current",
    "decode",
    "delta_sum",
    "draw_key",
    "draws",
    "drop_threshold",
    "effective_keep",
    "elected_signs",
    "encode",
    "fold_blocks",
    "high_histograms",
    "linear",
    "low_histograms",
    "nearest_f32",
    "select_from_bottom",
    "select_from_top",
    "tie_histograms",
    "ties",
    "use",
]
