"""Learning: what strategies apply, found by gradients on every contribution's own data; merges nothing for good.

One module per strategy with `fit(problem, …) → Asset`; `problem` says what is merged and on which data.
"""
