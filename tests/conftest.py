"""For every test: Hypothesis does not time examples, which on a busy machine would say nothing about the code."""

from hypothesis import settings

settings.register_profile("conjoin", deadline=None)
settings.load_profile("conjoin")
