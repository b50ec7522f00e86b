"""Arithmetic whose every bit is specified: formats, operations, draws, coefficients; opens nothing, knows no model."""

from conjoin.kernels.backend import backend_note, computing_on, current, use, use_device
from conjoin.kernels.counting import Found, select_from_bottom, select_from_top
from conjoin.kernels.draws import DrawKey, draw_key, drop_threshold, effective_keep
from conjoin.kernels.formats import FORMATS, Format, decode, encode
from conjoin.kernels.layout import BLOCK_ELEMENTS, Aggregate, Trim
from conjoin.kernels.ops.checks import count_nonfinite
from conjoin.kernels.ops.elementary import entropy, exp, log, softmax
from conjoin.kernels.ops.elementwise import delta_sum, elected_signs, linear, ties
from conjoin.kernels.ops.exact import exact_sums, nearest_total, total
from conjoin.kernels.ops.masks import Masks, masked, masked_sum, pack, surviving, unanimous, unified, unpack
from conjoin.kernels.ops.normals import normals
from conjoin.kernels.ops.order import high_histograms, low_histograms, tie_histograms
from conjoin.kernels.ops.reductions import block_count, block_gram, block_l1, block_moments, fold_blocks
from conjoin.kernels.ops.running import RunningSum, Way, running_delta_sum, running_linear, running_sum, way
from conjoin.kernels.ops.selection import (
    Bounds,
    band_sum,
    bounds_of,
    drop_table,
    dropped_signs,
    dropped_ties,
    row_bounds,
    row_ranks,
)
from conjoin.kernels.ops.streams import draws
from conjoin.kernels.scalars import Coefficients, coefficients, nearest_f32

__all__ = [
    "BLOCK_ELEMENTS",
    "FORMATS",
    "Aggregate",
    "Bounds",
    "Coefficients",
    "DrawKey",
    "Format",
    "Found",
    "Masks",
    "RunningSum",
    "Trim",
    "Way",
    "backend_note",
    "band_sum",
    "block_count",
    "block_gram",
    "block_l1",
    "block_moments",
    "bounds_of",
    "coefficients",
    "computing_on",
    "count_nonfinite",
    "current",
    "decode",
    "delta_sum",
    "draw_key",
    "draws",
    "drop_table",
    "drop_threshold",
    "dropped_signs",
    "dropped_ties",
    "effective_keep",
    "elected_signs",
    "encode",
    "entropy",
    "exact_sums",
    "exp",
    "fold_blocks",
    "high_histograms",
    "linear",
    "log",
    "low_histograms",
    "masked",
    "masked_sum",
    "nearest_f32",
    "nearest_total",
    "normals",
    "pack",
    "row_bounds",
    "row_ranks",
    "running_delta_sum",
    "running_linear",
    "running_sum",
    "select_from_bottom",
    "select_from_top",
    "softmax",
    "surviving",
    "tie_histograms",
    "ties",
    "total",
    "unanimous",
    "unified",
    "unpack",
    "use",
    "use_device",
    "way",
]
