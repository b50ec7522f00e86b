"""The store: checkpoints come in through one strict gate and are kept as verified, digest-named leaves."""
