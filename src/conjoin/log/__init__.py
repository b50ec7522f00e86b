"""Signed operations, their admission, and the views that make a MergeState of them. Does not know files or peers."""

from conjoin.log.draft import draft, genesis_payload
from conjoin.log.genesis import Genesis, Limits, Policy
from conjoin.log.log import Log, Refusal, Verdict
from conjoin.log.operation import Add, Member, Operation, Retract, Role, parse
from conjoin.log.views import (
    ContributionView,
    Fork,
    contributions,
    forks,
    members,
    merge_state,
    policy,
    root,
    visible,
)

__all__ = [
    "Add",
    "ContributionView",
    "Fork",
    "Genesis",
    "Limits",
    "Log",
    "Member",
    "Operation",
    "Policy",
    "Refusal",
    "Retract",
    "Role",
    "Verdict",
    "contributions",
    "draft",
    "forks",
    "genesis_payload",
    "members",
    "merge_state",
    "parse",
    "policy",
    "root",
    "visible",
]
