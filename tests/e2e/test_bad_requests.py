"""Every request that cannot be carried out says why and what to do, and leaves everything as it was."""

import errno
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conjoin.apps.cli import run
from conjoin.replica import Replica
from conjoin.store.instance import create_instance
from conjoin.sync.peers.ticket import Ticket
from conjoin.wire.digest import Digest
from tests.e2e.refusal import check_refused, contents
from tests.e2e.shell import InProcess
from tests.unit.places import small_disk

KEY = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"


@pytest.fixture(scope="module")
def made(models: Path) -> Path:
    """A folder with replica `alice`, which has two contributions, and `bob`, which has heard of nothing."""
    alice = str(models / "alice")
    for command in (
        ["init", alice, "--base", str(models / "base")],
        ["clone", alice, str(models / "bob")],
        ["-C", alice, "add", str(models / "north.safetensors"), "--title", "north"],
        ["-C", alice, "add", str(models / "south.safetensors"), "--title", "south"],
    ):
        assert run(["-q", *command]) == 0
    return models


@pytest.fixture
def digests(made: Path) -> list[str]:
    with Replica.open(made / "alice") as alice:
        return list(alice.visible)


@pytest.mark.parametrize("weight", ["-1", "0", "0.0", "nan", "NaN", "inf", "1e-3", "one", "", "1/3", "٣"])
def test_weights_that_are_no_positive_decimals(here: InProcess, made: Path, weight: str) -> None:
    before = contents(made / "alice")
    result = here.run("-C", made / "alice", "add", made / "west.safetensors", f"--weight={weight}")
    check_refused(result, "E104", hint=False)
    assert contents(made / "alice") == before


def test_weights_that_add_up_to_zero(here: InProcess, made: Path, tmp_path: Path, digests: list[str]) -> None:
    zeros = [f"--weight={digest}=0" for digest in digests]
    check_refused(here.run("-C", made / "alice", "resolve", "weight_average", *zeros, "-o", tmp_path / "out"), "E104")
    negative = f"--weight={digests[0]}=-1"
    check_refused(here.run("-C", made / "alice", "resolve", "linear", negative, "-o", tmp_path / "out"), "E104")
    assert not (tmp_path / "out").exists()


def test_unknown_strategy_and_parameter(here: InProcess, made: Path, tmp_path: Path) -> None:
    resolve = ["-C", made / "alice", "resolve"]
    out = ["-o", tmp_path / "out"]
    check_refused(here.run(*resolve, "weight_avrage", *out), "E101", "did you mean `weight_average`")
    check_refused(here.run(*resolve, "mergekit", *out), "E101", "conjoin strategies")
    check_refused(here.run(*resolve, "ties", "-p", "densty=0.2", *out), "E102", "did you mean `density`")
    check_refused(here.run(*resolve, "ties", "-p", "density=2", *out), "E103", "at most 1", hint=False)
    check_refused(here.run(*resolve, "ties", "-p", "density=lots", *out), "E103", "lots")
    check_refused(here.run(*resolve, "ties", "-p", "agg=meen", *out), "E103", "did you mean `mean`")
    check_refused(here.run("strategies", "tie"), "E101", "did you mean `ties`")
    assert not (tmp_path / "out").exists()


def test_command_lines_that_are_none(here: InProcess, made: Path, tmp_path: Path) -> None:
    alice = ["-C", made / "alice"]
    out = ["-o", tmp_path / "out"]
    for command in (
        ["init", tmp_path / "new"],
        ["resolve", "ties"],
        ["resolve", *out],
        ["resolve", "ties", "-p", "density", *out],
        ["resolve", "ties", "--shard-size", "much", *out],
        ["resolve", "ties", "--memory", "-3", *out],
        ["resolve", "ties", "--threads", "0", *out],
        ["resolve", "ties", "--dtype", "F8", *out],
        ["resolve", "ties", "--recipe", made / "base" / "config.json", *out],
        ["add", made / "west.safetensors", "--extra", "fisher"],
        ["add"],
        ["sync"],
        ["frobnicate"],
        ["status", "--sideways"],
    ):
        first = [] if command[0] == "init" else alice
        check_refused(here.run(*first, *command), "E111", "--help" if command[0] == "frobnicate" else "")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "new").exists()


def test_recipe_files(here: InProcess, made: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    command = ["-C", made / "alice", "resolve", "--recipe", recipe, "-o", tmp_path / "out"]
    check_refused(here.run(*command), "E209", "recipe.json")
    for text, word in (
        ("{", "JSON"),
        ("[]", "object"),
        ('{"strategie": "ties"}', "did you mean `strategy`"),
        ("{}", ""),
    ):
        recipe.write_text(text)
        check_refused(here.run(*command), "E110", word, hint=False)
    recipe.write_text('{"strategy": "ties", "params": {"density": 0.5}}')
    here.ok(*command)


def test_resolve_with_nothing_visible(here: InProcess, made: Path, tmp_path: Path) -> None:
    result = here.run("-C", made / "bob", "resolve", "weight_average", "-o", tmp_path / "out")
    check_refused(result, "E107", "conjoin")
    assert not (tmp_path / "out").exists()


def test_unknown_digests(here: InProcess, made: Path) -> None:
    before = contents(made / "alice")
    alice = ["-C", made / "alice"]
    check_refused(here.run(*alice, "retract", "0123456789abcdef"), "E108", "0123456789abcdef")
    check_refused(here.run(*alice, "retract", "0123"), "E108", "8")
    check_refused(here.run(*alice, "show", "f" * 64), "E108")
    check_refused(here.run(*alice, "show", "north.safetensors"), "E108")
    assert contents(made / "alice") == before


def test_ambiguous_digest(here: InProcess, made: Path, tmp_path: Path) -> None:
    """Two weights of one model whose contributions' digests really start with the same eight characters."""
    with Replica.open(made / "alice") as alice:
        [north] = [info for info in alice.contributions() if info.title == "north"]
        base = alice.base
    text = f'{{"base":"{base}","extras":{{}},"weight":"%s","weights":"{north.weights}"}}'
    seen: dict[str, int] = {}
    digest, first, second = "", 0, 0
    for second in itertools.count(2):
        digest = hashlib.sha256(b"conjoin/contribution/1" + (text % second).encode()).hexdigest()
        first = seen.setdefault(digest[:8], second)
        if first != second:
            break
    here.ok("clone", made / "alice", tmp_path / "carol")
    for weight in (first, second):
        here.ok("-C", tmp_path / "carol", "add", made / "north.safetensors", "--weight", str(weight))
    check_refused(here.run("-C", tmp_path / "carol", "retract", digest[:8]), "E109", digest, "more characters")
    here.ok("-C", tmp_path / "carol", "retract", digest[:20])


def test_out_exists(here: InProcess, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("mine")
    check_refused(here.run("-C", made / "alice", "resolve", "weight_average", "-o", out), "E208", str(out))
    check_refused(here.run("demo", out), "E208", str(out))
    assert contents(out) == {"precious": b"mine"}
    check_refused(here.run("init", made / "alice", "--base", made / "base"), "E602", "alice")
    check_refused(here.run("clone", made / "alice", made / "bob"), "E602", "bob")


def test_sources_that_are_none(here: InProcess, made: Path, tmp_path: Path) -> None:
    alice = ["-C", made / "alice"]
    check_refused(here.run(*alice, "sync", tmp_path / "nowhere"), "E501", "nowhere", "mkdir")
    check_refused(here.run(*alice, "sync", made / "north.safetensors"), "E501", "north.safetensors")
    check_refused(here.run(*alice, "sync", made / "base"), "E501", "base")
    check_refused(here.run(*alice, "sync", "nonsense://bucket/prefix"), "E501", "s3://bucket/prefix")
    check_refused(here.run(*alice, "sync", ""), "E111", "SOURCE")
    (tmp_path / "empty").mkdir()
    check_refused(here.run("clone", tmp_path / "empty", tmp_path / "new"), "E502")
    assert not (tmp_path / "new").exists()


def test_one_bad_source_does_not_stop_the_others(here: InProcess, made: Path, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    result = here.run("-C", made / "alice", "sync", tmp_path / "nowhere", tmp_path / "good")
    assert result.status == 6
    assert "error[E501]" in result.stderr
    assert "good: sent" in result.stdout.replace("\n", "")


def test_another_space(here: InProcess, made: Path, tmp_path: Path) -> None:
    here.ok("init", tmp_path / "other", "--base", made / "base")
    before = contents(made / "alice")
    check_refused(here.run("-C", made / "alice", "sync", tmp_path / "other"), "E402", f" in {tmp_path / 'other'}")
    assert contents(made / "alice") == before
    ticket = str(Ticket(("192.0.2.7:4433",), KEY, Digest("cd" * 32), Digest("ef" * 32)))
    check_refused(here.run("-C", made / "alice", "sync", ticket), "E402", "`conjoin clone TICKET DIR`")
    here.ok("-C", tmp_path / "other", "add", made / "west.safetensors")
    here.ok("-C", tmp_path / "other", "resolve", "weight_average", "-o", tmp_path / "out")
    check_refused(here.run("-C", made / "alice", "verify", tmp_path / "out"), "E402", "-C DIR")


def test_verify_without_a_receipt(here: InProcess, made: Path) -> None:
    check_refused(here.run("-C", made / "alice", "verify", made / "base"), "E305", "conjoin.json: no such file")


def test_messages_speak_no_python(here: InProcess, made: Path, tmp_path: Path) -> None:
    alice = ["-C", made / "alice"]
    for result in (
        here.run(*alice, "sync", "conjoin:AAAAA"),
        here.run(*alice, "sync", "conjoin:_w"),
        here.run(*alice, "sync", "conjoin:e30x"),
        here.run(*alice, "invite", "ssh-ed25519 AAAAA"),
        here.run(*alice, "verify", made / "base"),
        here.run(*alice, "resolve", "ties", "--dtype", "INT", "-o", tmp_path / "out"),
        here.run(*alice, "resolve", "ada_merging", "--asset", made / "base", "-o", tmp_path / "out"),
    ):
        for word in ("Errno", "codec", "base64-encoded", "Value error", "Invalid", "(char "):
            assert word not in result.stderr, result.stderr
        assert "error[E" in result.stderr


def test_a_receipt_is_no_recipe_and_its_recipe_is_one(here: InProcess, made: Path, tmp_path: Path) -> None:
    resolve = ["-C", made / "alice", "resolve"]
    here.ok(*resolve, "ties", "-p", "density=0.3", "-o", tmp_path / "out")
    receipt = tmp_path / "out" / "conjoin.json"
    check_refused(here.run(*resolve, "--recipe", receipt, "-o", tmp_path / "again"), "E110", "jq .recipe")
    (tmp_path / "recipe.json").write_text(json.dumps(json.loads(receipt.read_text())["recipe"]))
    here.ok(*resolve, "--recipe", tmp_path / "recipe.json", "-o", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_what_cannot_be_read_is_no_question_of_usage(
    here: InProcess, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    check_refused(here.run("add", made / "west.safetensors"), "E111", "not readable", "hint: check its owner")
    check_refused(here.run("-C", made / "alice", "status"), "E111", "not readable", "hint: check its owner")


def test_numbers_agree_with_their_nouns(here: InProcess, made: Path, tmp_path: Path) -> None:
    alice = ["-C", made / "alice"]
    result = here.run(*alice, "resolve", "ties", "--memory", "1", "-o", tmp_path / "out")
    check_refused(result, "E112", " bytes or more")
    here.ok(*alice, "resolve", "weight_average", "-o", tmp_path / "out")
    config = tmp_path / "out" / "config.json"
    config.write_text(config.read_text() + " ")
    check_refused(here.run(*alice, "verify", tmp_path / "out"), "E304", ", 1 difference:")


def test_no_replica(here: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["status"], ["log"], ["whoami"], ["add", "x"], ["-C", "nowhere", "fsck"]):
        check_refused(here.run(*command), "E601")


def test_only_admins_invite_and_only_authors_retract(
    here: InProcess, made: Path, tmp_path: Path, digests: list[str]
) -> None:
    here.ok("clone", made / "alice", tmp_path / "carol")
    check_refused(here.run("-C", tmp_path / "carol", "invite", "ab" * 32), "E403", hint=False)
    key = json.loads(here.ok("-C", made / "bob", "whoami", "--json"))["key"]
    check_refused(here.run("-C", tmp_path / "carol", "invite", key), "E407")
    check_refused(here.run("-C", tmp_path / "carol", "retract", digests[0]), "E407")
    check_refused(here.run("-C", made / "alice", "invite", "not a key"), "E403", hint=False)
    check_refused(here.run("-C", made / "alice", "invite", "00" * 32), "E403", hint=False)


def test_key_file_that_others_can_read(here: InProcess, made: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True) if shutil.which(
        "ssh-keygen"
    ) else shutil.copy(made / "bob" / ".conjoin" / "local" / "key", key)
    key.chmod(0o644)
    result = here.run("init", tmp_path / "new", "--base", made / "base", "--key", key)
    check_refused(result, "E606", str(key), "chmod")
    assert not (tmp_path / "new").exists()
    key.chmod(0o600)
    here.ok("init", tmp_path / "new", "--base", made / "base", "--key", key)
    key.chmod(0o640)
    check_refused(here.run("-C", tmp_path / "new", "add", made / "west.safetensors"), "E606", str(key))
    check_refused(here.run("init", tmp_path / "newer", "--base", made / "base", "--key", tmp_path / "none"), "E606")
    hostname = tmp_path / "hostname"
    hostname.write_text("north\n")
    result = here.run("init", tmp_path / "newer", "--base", made / "base", "--key", hostname)
    check_refused(result, "E606", "not an OpenSSH private key")
    assert "chmod" not in result.stderr


def test_a_replica_whose_key_is_lost_says_what_helps(here: InProcess, made: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    here.ok("init", new, "--base", made / "base")
    (new / ".conjoin" / "local" / "key").unlink()
    for command in (["whoami"], ["add", made / "west.safetensors"], ["serve"]):
        check_refused(here.run("-C", new, *command), "E606", "`conjoin rekey` gives this replica a new key")
    said = here.ok("-C", new, "status")
    assert "key         cannot be read, see below" in said
    assert "`conjoin rekey` gives this replica a new key" in said
    told = json.loads(here.ok("-C", new, "status", "--json"))
    assert (told["key"], told["role"]) == (None, None)
    here.ok("-C", new, "rekey")
    here.ok("-C", new, "whoami")


def test_locked_by_another_process(here: InProcess, made: Path) -> None:
    lock = made / "alice" / ".conjoin" / "local" / "lock"
    code = (
        "import sys; from conjoin.store.lock import ReplicaLock\n"
        "with ReplicaLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    try:
        before = contents(made / "alice")
        for command in (["add", made / "west.safetensors"], ["sync", made / "bob"]):
            check_refused(here.run("-C", made / "alice", *command), "E603", str(holder.pid))
        assert contents(made / "alice") == before
        here.ok("-C", made / "alice", "status")
    finally:
        holder.communicate(timeout=10)


def test_a_copied_replica_does_not_write(here: InProcess, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "alice", tmp_path / "copy")
    check_refused(here.run("-C", tmp_path / "copy", "add", made / "west.safetensors"), "E607", "rekey")


def test_a_fork_is_told_with_what_to_do(here: InProcess, made: Path, tmp_path: Path) -> None:
    one, two = _copy(made / "alice", tmp_path / "one"), _copy(made / "alice", tmp_path / "two")
    here.ok("-C", one, "add", made / "west.safetensors")
    here.ok("-C", two, "add", made / "west.safetensors", "--weight", "2")
    here.run("-C", one, "sync", two)
    said = here.ok("-C", one, "status")
    assert "signed 2 different operations as number " in said
    assert said.index("a fork harms no merge") < said.rindex("`conjoin rekey`") < said.index("`conjoin show`")


def _copy(replica: Path, to: Path) -> Path:
    shutil.copytree(replica, to)
    create_instance(to / ".conjoin" / "local" / "instance")
    return to


@pytest.mark.parametrize(
    ("number", "code", "word"), [(errno.ENOSPC, "E605", "space"), (errno.EROFS, "E604", ""), (errno.EIO, "E608", "")]
)
@pytest.mark.parametrize("command", ["add", "resolve", "sync", "init", "clone", "rekey"])
def test_a_disk_that_refuses(
    here: InProcess,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    number: int,
    code: str,
    word: str,
) -> None:
    """The system calls that write fail as on a full, read-only or broken disk."""
    replica = _copy(made / "alice", tmp_path / "alice")
    arguments = {
        "add": ["-C", replica, "add", made / "west.safetensors"],
        "resolve": ["-C", replica, "resolve", "weight_average", "-o", tmp_path / "out"],
        "sync": ["-C", _copy(made / "bob", tmp_path / "bob"), "sync", made / "alice"],
        "init": ["init", tmp_path / "new", "--base", made / "base"],
        "clone": ["clone", made / "bob", tmp_path / "new"],
        "rekey": ["-C", replica, "rekey"],
    }[command]
    before = contents(replica)
    real = os.fsync

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        for name in ("write", "pwrite", "pwritev", "fsync"):
            patch.setattr(os, name, refuse)
        result = here.run(*arguments)
    assert os.fsync is real
    check_refused(result, code, word)
    assert contents(replica) == before
    assert not (tmp_path / "new" / ".conjoin").exists()
    assert not (tmp_path / "out").exists()
    if command in ("add", "resolve"):
        here.ok(*arguments)


def test_a_disk_that_is_really_full(made: Path, tmp_path: Path) -> None:
    story = (
        f'conjoin() {{ {sys.executable} -m conjoin "$@"; }}\n'
        f"conjoin -q init r --base {made}/base && conjoin -q -C r add {made}/north.safetensors || exit 1\n"
        f"conjoin -q -C r add {made}/south.safetensors\nconjoin -q -C r add {made}/west.safetensors\necho status $?\n"
        "conjoin -q -C r fsck\necho fsck $?\nfind r/.conjoin/local/tmp -type f\n"
    )
    with small_disk(tmp_path / "disk", "size=300k") as disk:
        done = subprocess.run(["sh", "-c", story], cwd=disk, capture_output=True, text=True, check=False)
    assert "error[E605]" in done.stderr, done
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-2:] == ["status 7", "fsck 0"]


def test_a_disk_that_became_read_only(made: Path, tmp_path: Path) -> None:
    """What stops root as well, who may write to every folder."""
    disk = tmp_path / "disk"
    story = (
        f'conjoin() {{ {sys.executable} -m conjoin "$@"; }}\n'
        f"conjoin -q init r --base {made}/base && conjoin -q -C r add {made}/north.safetensors || exit 1\n"
        f"cd / && mount -o remount,ro {disk} && cd {disk} || exit 1\n"
        f"conjoin -q -C r add {made}/west.safetensors\necho add $?\n"
        "conjoin -q -C r resolve ties -o out\necho resolve $?\n"
        "conjoin -q -C r fsck\necho fsck $?\n"
    )
    with small_disk(disk, "size=20m"):
        done = subprocess.run(["sh", "-c", story], cwd=disk, capture_output=True, text=True, check=False)
    assert done.stderr.count("error[E604]") == 2, done
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-3:] == ["add 7", "resolve 7", "fsck 0"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_replica(here: InProcess, made: Path, tmp_path: Path) -> None:
    replica = _copy(made / "alice", tmp_path / "alice")
    for folder in [path for path in replica.rglob("*") if path.is_dir()]:
        folder.chmod(0o500)
    try:
        check_refused(here.run("-C", replica, "add", made / "west.safetensors"), "E604")
    finally:
        for folder in [replica, *replica.rglob("*")]:
            if folder.is_dir():
                folder.chmod(0o700)


def test_damage_is_named(here: InProcess, made: Path, tmp_path: Path) -> None:
    replica = _copy(made / "alice", tmp_path / "alice")
    leaf = max(
        (replica / ".conjoin" / "leaf").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0
    )
    data = bytearray(leaf.read_bytes())
    data[100] ^= 4
    leaf.chmod(0o600)
    leaf.write_bytes(data)
    name = str(leaf.relative_to(replica / ".conjoin"))
    result = here.run("-C", replica, "fsck")
    assert (result.status, name in result.stdout) == (4, True)
    check_refused(here.run("-C", replica, "resolve", "weight_average", "-o", tmp_path / "out"), "E301", leaf.name[:12])
    assert not (tmp_path / "out").exists()
    check_refused(here.run("-C", replica, "fsck", "--repair-from", "conjoin:abc"), "E111", "live peer")
    assert name in here.ok("-C", replica, "fsck", "--repair-from", f"file://{made / 'alice' / '.conjoin'}")
    here.ok("-C", replica, "resolve", "weight_average", "-o", tmp_path / "out")


def test_a_file_that_changed_in_place(here: InProcess, made: Path, tmp_path: Path) -> None:
    replica = _copy(made / "bob", tmp_path / "bob")
    model = shutil.copy(made / "north.safetensors", tmp_path / "moving.safetensors")
    here.ok("-C", replica, "add", model, "--in-place")
    data = bytearray(Path(model).read_bytes())
    data[-3] ^= 1
    Path(model).write_bytes(data)
    result = here.run("-C", replica, "resolve", "weight_average", "-o", tmp_path / "out")
    check_refused(result, "E303", "moving.safetensors")
    assert not (tmp_path / "out").exists()
