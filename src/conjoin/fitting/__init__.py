"""Fitting: what runs models or evaluators to make side-cars and assets; the core that merges never imports it.

A strategy that applies what was learned has one `Fitter` in the table of `fitters`; `fit` finds it there.
"""

from conjoin.fitting.fitters import FITTERS, Fitter, Request, fit

__all__ = ["FITTERS", "Fitter", "Request", "fit"]
