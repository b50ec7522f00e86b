"""Tests of what runs models: side-cars, learning, search."""
