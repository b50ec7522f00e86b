"""What the genesis of a space fixes: base, files, name and policy; a policy can only tighten the protocol's limits."""

from dataclasses import dataclass, field
from typing import Literal, Self, get_args

from conjoin.errors import MalformedOperationError
from conjoin.log.fields import exact_fields, hex_field, integer_field, text_field
from conjoin.wire.canonical import Json
from conjoin.wire.digest import Digest, parse_digest
from conjoin.wire.envelope import PAYLOAD_BYTES_MAX

DEPS_MAX = 16
OPERATIONS_PER_AUTHOR_MAX = 1_000_000
DEPS_LEAST = 2
OPERATION_BYTES_LEAST = 4_096
"""More than any genesis takes, so a genesis never breaks the limit it sets."""
NAME_CHARS_MAX = 200

RetractPolicy = Literal["author", "member"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a space: deps per operation, payload bytes per operation, operations per author."""

    deps: int = DEPS_MAX
    operation_bytes: int = PAYLOAD_BYTES_MAX
    operations_per_author: int = OPERATIONS_PER_AUTHOR_MAX


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of a space.

    Attributes:
        open: whether every admissible key may write.
        retract: who may retract an add besides its author and admins: nobody (`author`) or every member (`member`).
        limits: how much an operation and an author may take.
    """

    open: bool = False
    retract: RetractPolicy = "author"
    limits: Limits = field(default_factory=Limits)

    def to_json(self) -> dict[str, Json]:
        """The policy as the JSON value a genesis holds."""
        limits = {
            "deps": self.limits.deps,
            "operation_bytes": self.limits.operation_bytes,
            "operations_per_author": self.limits.operations_per_author,
        }
        return {"limits": limits, "open": self.open, "retract": self.retract}

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Read a policy.

        Raises:
            MalformedOperationError: a field is missing, unknown or outside the protocol's bounds.
        """
        fields = exact_fields(value, ("limits", "open", "retract"), "policy")
        limits = exact_fields(fields["limits"], ("deps", "operation_bytes", "operations_per_author"), "limits")
        if not isinstance(fields["open"], bool):
            raise MalformedOperationError("`open` of the policy is true or false")
        if fields["retract"] not in get_args(RetractPolicy):
            raise MalformedOperationError(f"`retract` of the policy is author or member: {fields['retract']!r:.40}")
        return cls(
            fields["open"],
            fields["retract"],
            Limits(
                integer_field(limits["deps"], DEPS_LEAST, DEPS_MAX, "limit deps"),
                integer_field(
                    limits["operation_bytes"], OPERATION_BYTES_LEAST, PAYLOAD_BYTES_MAX, "limit operation_bytes"
                ),
                integer_field(
                    limits["operations_per_author"], 1, OPERATIONS_PER_AUTHOR_MAX, "limit operations_per_author"
                ),
            ),
        )


@dataclass(frozen=True, slots=True)
class Genesis:
    """The body of a genesis operation.

    Attributes:
        base: content digest of the base's weights, which every contribution must name.
        files: content digest of the base's other files (config, tokenizer, …).
        name: what people call the space; may be empty.
        nonce: 32 hex characters, so that two spaces over one base differ.
        policy: who may write and how much.
    """

    base: Digest
    files: Digest
    nonce: str
    name: str = ""
    policy: Policy = field(default_factory=Policy)

    def to_json(self) -> dict[str, Json]:
        """The body as a JSON value."""
        return {
            "base": self.base,
            "files": self.files,
            "name": self.name,
            "nonce": self.nonce,
            "policy": self.policy.to_json(),
        }

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Read the body of a genesis.

        Raises:
            MalformedOperationError: a field is missing, unknown or malformed.
        """
        fields = exact_fields(value, ("base", "files", "name", "nonce", "policy"), "genesis")
        return cls(
            parse_digest(fields["base"], "base"),
            parse_digest(fields["files"], "files"),
            hex_field(fields["nonce"], 32, "nonce"),
            text_field(fields["name"], NAME_CHARS_MAX, "name"),
            Policy.from_json(fields["policy"]),
        )
