"""Every error conjoin raises on purpose, one class per cause; imports nothing and prints nothing.

A family says whose fault it is and fixes the exit status; a class in it is one cause with a code. `what` names both
values, `where` the file, tensor or digest, `hint` the next step. docs/reference/errors.md is generated from this file:
a class docstring is what the user reads there.
"""

from typing import ClassVar


class ConjoinError(Exception):
    """The parent of every deliberate error."""

    code: ClassVar[str] = "E000"
    exit_status: ClassVar[int] = 3
    retryable: ClassVar[bool] = False

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.what}"]
        if self.where:
            lines += [f"  at: {line}" for line in self.where.splitlines()]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The error as one JSON value, for `--json`."""
        return {
            "code": self.code,
            "what": self.what,
            "where": self.where,
            "hint": self.hint,
            "exit_status": self.exit_status,
            "retryable": self.retryable,
        }


class RecipeError(ConjoinError):
    """The request cannot be carried out as it was written."""

    code = "E100"
    exit_status = 2


class UnknownStrategyError(RecipeError):
    """No strategy has this name. The nearest name is given; `conjoin strategies` lists them all."""

    code = "E101"


class UnknownParameterError(RecipeError):
    """The strategy has no such parameter. The nearest one is given; `conjoin strategies NAME` lists them."""

    code = "E102"


class BadParameterError(RecipeError):
    """A parameter's value is not of its type or outside its range. Numbers are decimal strings such as `0.2`."""

    code = "E103"


class BadWeightError(RecipeError):
    """A weight is not a positive decimal number, or the weights of a normalised sum add up to zero."""

    code = "E104"


class MissingBaseError(RecipeError):
    """The strategy works on task vectors and no base was given."""

    code = "E105"


class MissingSidecarError(RecipeError):
    """The strategy needs a side-car (Fisher, Gram, …) that a contribution does not carry."""

    code = "E106"


class NothingVisibleError(RecipeError):
    """The visible set is empty: nothing was added yet, or everything was retracted."""

    code = "E107"


class UnknownDigestError(RecipeError):
    """Nothing in this replica has a digest that starts so. `conjoin log` and `conjoin status` show the digests."""

    code = "E108"


class AmbiguousDigestError(RecipeError):
    """Several things have digests that start so. Give more characters; the candidates are listed."""

    code = "E109"


class BadRecipeError(RecipeError):
    """A recipe file is not one JSON object with the fields of a recipe."""

    code = "E110"


class UsageError(RecipeError):
    """The command line is not what the command takes."""

    code = "E111"


class MemoryBudgetError(RecipeError):
    """The memory budget is too small for one leaf of every contribution; the least that works is named."""

    code = "E112"


class UnknownDeviceError(RecipeError):
    """The device for the arithmetic is not there, or cannot compute in float64."""

    code = "E113"


class MissingAssetError(RecipeError):
    """The strategy applies what was learned or searched, and no asset was given. `conjoin fit STRATEGY` makes one."""

    code = "E114"


class WrongAssetError(RecipeError):
    """The asset was made for another strategy, base or set of contributions, or is not an asset at all."""

    code = "E115"


class BadRoleError(RecipeError):
    """A contribution that the strategy needs in a certain role is missing, or too many have it."""

    code = "E116"


class MissingExtraError(RecipeError):
    """The command needs a package that is not installed. The hint is the command that installs it."""

    code = "E117"


class InputError(ConjoinError):
    """A checkpoint or file that was given cannot be used."""

    code = "E200"
    exit_status = 3


class NotACheckpointError(InputError):
    """The path is not a safetensors file or a folder that holds one."""

    code = "E201"


class MalformedCheckpointError(InputError):
    """The safetensors file breaks the format or the limits of the input gate. It was not opened any further."""

    code = "E202"


class RefusedFormatError(InputError):
    """The file is a pickle or another format that can run code or hide data; conjoin never opens those."""

    code = "E203"


class MismatchedTensorsError(InputError):
    """The tensors' names, shapes or dtypes are not those of the base. Every difference is listed."""

    code = "E204"


class NonFiniteError(InputError):
    """A tensor holds NaN or Inf. A model like that would poison every merge, so it is refused at `add`."""

    code = "E205"


class UnsafePathError(InputError):
    """The index or folder points outside itself, or at a symlink, device or pipe."""

    code = "E206"


class UnsupportedDtypeError(InputError):
    """A tensor has a dtype conjoin cannot carry."""

    code = "E207"


class OutputExistsError(InputError):
    """The output path exists. conjoin never overwrites; name another one or remove it."""

    code = "E208"


class MissingFileError(InputError):
    """A file that was named, or that an index names, is not there."""

    code = "E209"


class NotPositiveDefiniteError(InputError):
    """A matrix that has to be positive definite is not, so a system cannot be solved with it. More damping helps."""

    code = "E210"


class NotConvergedError(InputError):
    """An iteration on a matrix reached its fixed limit. No half-finished result is ever used."""

    code = "E211"


class NotSymmetricError(InputError):
    """A matrix whose eigenvalues are asked for is not square, finite and symmetric."""

    code = "E212"


class BadSidecarError(InputError):
    """A side-car has tensors of another name, shape or dtype than the strategy needs, or values it cannot have."""

    code = "E213"


class EvaluatorError(InputError):
    """The evaluator of a search crashed, took too long, or printed something else than whole numbers."""

    code = "E214"


class BadDataError(InputError):
    """The data or model description that learning or statistics need cannot be used."""

    code = "E215"


class IntegrityError(ConjoinError):
    """Bytes are not what their digest says."""

    code = "E300"
    exit_status = 4


class DamagedObjectError(IntegrityError):
    """A stored object does not match its name. `conjoin fsck --repair-from SOURCE` takes it from where it is whole."""

    code = "E301"


class MissingObjectError(IntegrityError):
    """An object that is needed is not in this replica. Sync with a replica or meeting place that has it."""

    code = "E302"
    retryable = True


class ChangedFileError(IntegrityError):
    """A file that was added in place has changed or is gone since it was added."""

    code = "E303"


class VerificationError(IntegrityError):
    """A merged checkpoint does not match its receipt, or the receipt does not match the log."""

    code = "E304"
    exit_status = 1


class MalformedReceiptError(IntegrityError):
    """The folder holds no receipt, or one that is not a receipt of this version."""

    code = "E305"


class TrustError(ConjoinError):
    """An operation or key was refused by the rules of the space."""

    code = "E400"
    exit_status = 5


class MalformedOperationError(TrustError):
    """An operation is not canonical JSON of the right shape, or is too large."""

    code = "E401"


class WrongSpaceError(TrustError):
    """An operation, replica or meeting place belongs to another space."""

    code = "E402"


class BadKeyError(TrustError):
    """A public key is malformed, non-canonical or of small order, or not an Ed25519 key."""

    code = "E403"


class BadSignatureError(TrustError):
    """An operation's signature does not verify under its author's key."""

    code = "E404"


class BrokenChainError(TrustError):
    """An operation's `seq` does not continue its author's chain, or its links name something impossible."""

    code = "E405"


class NotAMemberError(TrustError):
    """The author is not a member of this closed space. An admin lets a key in with `conjoin invite KEY`."""

    code = "E406"


class NotPermittedError(TrustError):
    """The author may not do this: only admins invite, only the author or an admin retracts."""

    code = "E407"


class WaitingForAncestorsError(TrustError):
    """An operation names ancestors that have not arrived. It waits; syncing further usually brings them."""

    code = "E408"
    retryable = True


class WrongBaseError(TrustError):
    """A contribution was tuned from another base than the one the space's genesis fixes."""

    code = "E409"


class RemoteError(ConjoinError):
    """The other side of a sync cannot be used."""

    code = "E500"
    exit_status = 6
    retryable = True


class UnknownSourceError(RemoteError):
    """The source is neither a replica directory nor a folder that can serve as a meeting place."""

    code = "E501"
    retryable = False


class EmptySourceError(RemoteError):
    """The meeting place holds no space yet. Sync a replica with it first."""

    code = "E502"


class SeveralSpacesError(RemoteError):
    """The meeting place holds several spaces; say which one."""

    code = "E503"
    retryable = False


class ProtocolError(RemoteError):
    """A peer sent something that the protocol does not allow. What it sent before stays valid."""

    code = "E504"
    retryable = False


class NoSuchPlaceError(RemoteError):
    """The bucket is not there. conjoin makes objects, never buckets."""

    code = "E510"
    retryable = False


class CredentialsError(RemoteError):
    """No credentials for the place were found, or it does not accept them."""

    code = "E511"
    retryable = False


class AccessDeniedError(RemoteError):
    """The place knows who asks and does not let them list, read or write."""

    code = "E512"
    retryable = False


class UnreachableError(RemoteError):
    """The place does not answer: its name, network, TLS certificate or service is at fault."""

    code = "E513"


class ReadOnlyPlaceError(RemoteError):
    """The place can be read and not written. What could be pulled is kept."""

    code = "E514"
    retryable = False


class PeerRefusedError(RemoteError):
    """A peer does not take or give something; it says why."""

    code = "E505"
    retryable = False


class BadTicketError(RemoteError):
    """The text is no ticket of a live peer, or one of a newer version. `conjoin serve` prints tickets."""

    code = "E506"
    retryable = False


class WrongPeerError(RemoteError):
    """What answers at a ticket's address is not the peer that the ticket names. Nothing was sent to it."""

    code = "E507"
    retryable = False


class BusyPeerError(UnreachableError):
    """A peer is there and cannot answer just now: too much is asked of it, or its replica is being written to."""

    code = "E508"


class StoreError(ConjoinError):
    """The replica's own directory cannot be used."""

    code = "E600"
    exit_status = 7


class NoReplicaError(StoreError):
    """There is no replica here or in any parent directory."""

    code = "E601"


class ReplicaExistsError(StoreError):
    """The directory is not empty or already holds a replica."""

    code = "E602"


class LockedError(StoreError):
    """Another process is writing to this replica."""

    code = "E603"
    retryable = True


class ReadOnlyError(StoreError):
    """The directory cannot be written."""

    code = "E604"


class DiskFullError(StoreError):
    """The disk is full. What was half-written has been removed; free space and run the command again."""

    code = "E605"
    retryable = True


class KeyFileError(StoreError):
    """The private key file is missing, unreadable, encrypted, or readable by others."""

    code = "E606"


class CopiedReplicaError(StoreError):
    """The directory was copied or restored. Two replicas never write with one key: `conjoin rekey` gives it its own."""

    code = "E607"


class DeviceError(StoreError):
    """Reading or writing failed in the operating system."""

    code = "E608"
    retryable = True


class UsedKeyError(StoreError):
    """This replica's key signs elsewhere too, so that a restored backup or a copy is at work. `conjoin rekey` helps."""

    code = "E609"


class DamagedPeersError(StoreError):
    """What this replica remembers of its peers cannot be read. Syncing with them again writes it anew."""

    code = "E610"


class DeterminismError(ConjoinError):
    """The same input gave different bytes, or a backend failed its self-test."""

    code = "E700"
    exit_status = 8


class RecomputedDiffersError(DeterminismError):
    """Resolving again gave other bytes than the receipt states."""

    code = "E701"
    exit_status = 1


class SelfTestError(DeterminismError):
    """The reference arithmetic of this machine does not reproduce the golden vectors; nothing is merged here."""

    code = "E702"


class BrokenStrategyError(DeterminismError):
    """A strategy returned something else than an array of the promised length and format: a bug of the strategy."""

    code = "E703"


class BadArrayError(DeterminismError):
    """An operation was given arrays of another format, length or shape than it takes: a bug of the caller."""

    code = "E704"
