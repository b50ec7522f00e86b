"""Arithmetic whose every bit is specified: formats, operations, draws, coefficients; opens nothing, knows no model."""

from conjoin.kernels.backend import backend_note, computing_on, current, in_ieee, use, use_device
from conjoin.kernels.counting import Found, select_from_bottom, select_from_top
from conjoin.kernels.draws import DrawKey, draw_key, drop_threshold, effective_keep
from conjoin.kernels.formats import FORMATS, Format, decode, encode
from conjoin.kernels.layout import BLOCK_ELEMENTS, Aggregate, Bracket, Trim
from conjoin.kernels.ops.checks import count_nonfinite
from conjoin.kernels.ops.eigen import eigh
from conjoin.kernels.ops.elementary import entropy, exp, log, softmax
from conjoin.kernels.ops.elementwise import delta_sum, elected_signs, linear, ties
from conjoin.kernels.ops.exact import exact_sums, nearest_total, total
from conjoin.kernels.ops.large import Rows, cholesky_rows, gram_rows, solve_rows
from conjoin.kernels.ops.masks import Masks, masked, masked_sum, pack, surviving, unanimous, unified, unpack
from conjoin.kernels.ops.matrix import cholesky, gemm, gram, multiply_into, solve, solve_triangular
from conjoin.kernels.ops.means import weighted_mean
from conjoin.kernels.ops.normals import normals
from conjoin.kernels.ops.order import bracket_counts, high_histograms, tie_histograms
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
from conjoin.kernels.ops.svd import Panels, Singular, jacobi_svd, orthonormal, subspace_svd, svd
from conjoin.kernels.scalars import Coefficients, coefficients, nearest_f32

__all__ = [
    "BLOCK_ELEMENTS",
    "FORMATS",
    "Aggregate",
    "Bounds",
    "Bracket",
    "Coefficients",
    "DrawKey",
    "Format",
    "Found",
    "Masks",
    "Panels",
    "Rows",
    "RunningSum",
    "Singular",
    "Trim",
    "Way",
    "backend_note",
    "band_sum",
    "block_count",
    "block_gram",
    "block_l1",
    "block_moments",
    "bounds_of",
    "bracket_counts",
    "cholesky",
    "cholesky_rows",
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
    "eigh",
    "elected_signs",
    "encode",
    "entropy",
    "exact_sums",
    "exp",
    "fold_blocks",
    "gemm",
    "gram",
    "gram_rows",
    "high_histograms",
    "in_ieee",
    "jacobi_svd",
    "linear",
    "log",
    "masked",
    "masked_sum",
    "multiply_into",
    "nearest_f32",
    "nearest_total",
    "normals",
    "orthonormal",
    "pack",
    "row_bounds",
    "row_ranks",
    "running_delta_sum",
    "running_linear",
    "running_sum",
    "select_from_bottom",
    "select_from_top",
    "softmax",
    "solve",
    "solve_rows",
    "solve_triangular",
    "subspace_svd",
    "surviving",
    "svd",
    "tie_histograms",
    "ties",
    "total",
    "unanimous",
    "unified",
    "unpack",
    "use",
    "use_device",
    "way",
    "weighted_mean",
]
