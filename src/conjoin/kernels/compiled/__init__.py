"""The compiled arithmetic: the operations of `reference`, by numba kernels; hands over addresses, computes nothing.

Importing a family imports numba. Arguments are checked in `ops`, not here.
"""
