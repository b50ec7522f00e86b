"""Ways to reach live peers; each carries frames between two proven keys and understands none of them."""

from conjoin.sync.peers.base import Line, Peer

__all__ = ["Line", "Peer"]
