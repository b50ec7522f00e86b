"""What a command says of the objects that a sync refused."""

from conjoin.apps.cli.failure import refusals
from conjoin.errors import DamagedObjectError, UnreachableError
from conjoin.sync.report import Refusal, SyncReport
from conjoin.wire.digest import Digest


def test_a_line_that_broke_is_named_once_and_damage_for_every_object() -> None:
    refused = [
        Refusal(f"leaf/{number}", error.code, error.what)
        for number in range(3)
        for error in (UnreachableError("nothing answers there"), DamagedObjectError("the bytes are others"))
    ]
    errors = refusals(SyncReport("place", 0, 0, 0, 0, 0, 0, tuple(refused), 0, (), Digest("0" * 64)))
    assert [(type(error), error.where) for error in errors] == [
        (UnreachableError, "place"),
        *((DamagedObjectError, f"leaf/{number} in place") for number in range(3)),
    ]
    assert "remove the object" not in (errors[0].hint or "")
