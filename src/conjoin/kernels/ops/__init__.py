"""The operations as other rooms call them; a module per family checks arguments and leaves the work to a backend.

Raw arrays are 1-D bit patterns of a format. Every input is widened exactly to float64, every operation is one IEEE 754
operation in the order written, and the result is rounded once.
"""
