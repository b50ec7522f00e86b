"""The kernels numba compiles: loops over bit patterns, nothing else; called through `compiled`, never directly.

Rules that keep them fast and exact: arrays come as addresses, so one compilation serves every k and format; work goes
through pieces of PIECE elements that stay in the first-level cache; a choice of values is `select`, never a branch;
constants next to uint64 are uint64; no fast-math, no parallel loops, no C library. Numba finds the types of the
arguments, so they are not written here: addresses are uint64, counts and codes int64, values float64.
"""
