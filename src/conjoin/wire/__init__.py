"""Bytes to values and back: digests, canonical JSON, Merkle trees, manifests, headers, envelopes. Touches no file."""
