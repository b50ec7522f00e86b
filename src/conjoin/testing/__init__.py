"""Shipped test suites: every strategy, store and remote can be held to them. The product never imports it."""
