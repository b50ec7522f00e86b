"""Fitting: what runs models or evaluators to make side-cars and assets; the core that merges never imports it.

A strategy that applies what was learned has one `Fitter` in the table of `fitters`; `fit` finds it there.
"""

from conjoin.fitting.evaluators import Command
from conjoin.fitting.fitters import FITTERS, Fitter, Request, fit, write
from conjoin.fitting.learning.requests import fit_learning
from conjoin.fitting.searching import Settings, fit_search, search_and_asset
from conjoin.fitting.surgery import Adapter
from conjoin.fitting.tasks import Task

__all__ = [
    "FITTERS",
    "Adapter",
    "Command",
    "Fitter",
    "Request",
    "Settings",
    "Task",
    "fit",
    "fit_learning",
    "fit_search",
    "search_and_asset",
    "write",
]
