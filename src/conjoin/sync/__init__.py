"""Exchange of operations and content with a remote; believes nothing that it did not verify."""

from conjoin.sync.driver import choose_space, discover_spaces, synchronise, synchronise_with
from conjoin.sync.peers.dialling import dial, is_ticket
from conjoin.sync.rehearsal import rehearse
from conjoin.sync.remotes import open_remote
from conjoin.sync.report import Refusal, SyncReport

__all__ = [
    "Refusal",
    "SyncReport",
    "choose_space",
    "dial",
    "discover_spaces",
    "is_ticket",
    "open_remote",
    "rehearse",
    "synchronise",
    "synchronise_with",
]
