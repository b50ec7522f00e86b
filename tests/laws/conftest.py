"""Hypothesis settings of the laws: the same examples on every machine, bounded in number, never in time."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci", max_examples=45, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")
