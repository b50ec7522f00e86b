"""The reference arithmetic: every operation in plain NumPy, slow and obvious; the compiled one must equal it.

Only ufuncs whose every result bit IEEE 754 fixes are used: + - * / and sqrt, comparisons, integers and bits, `where`.
No sums, no products, no sorting of floats, no transcendental functions. Arguments are checked in `ops`, not here.
"""
