"""An aarch64 Debian user land in a folder: packages by apt, wheels by pip, run by qemu-user; installs nothing.

Everything is unpacked below one cache folder: no root, no foreign architecture and no binfmt handler is needed.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

MIRRORS = (
    "deb http://deb.debian.org/debian bookworm main",
    "deb http://deb.debian.org/debian-security bookworm-security main",
)
PACKAGES = (
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "python3.11-minimal",
    "zlib1g",
)
WHEELS = ("numpy", "numba", "llvmlite", "mpmath", "rfc8785", "pytest", "pluggy", "iniconfig", "packaging", "pygments")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_17", "manylinux2014")
CONFIG = """
Dir::State "{0}/apt";
Dir::State::Lists "{0}/apt/lists";
Dir::State::status "{0}/apt/status";
Dir::Cache "{0}/apt";
Dir::Etc::SourceList "{0}/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
APT::Architectures {{ "amd64"; "arm64"; }};
APT::Sandbox::User "";
Acquire::Languages "none";
"""


class CannotError(Exception):
    """This machine cannot do it; the message says why."""


class Machine:
    """An emulated aarch64 machine with the Python packages of this environment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root, self._site = folder / "root", folder / "site"
        self._qemu = folder / "host/usr/bin/qemu-aarch64-static"

    def is_prepared(self) -> bool:
        """Whether all is there, with the wheels of this environment."""
        stamp = self._folder / "complete"
        return sys.version_info[:2] == (3, 11) and stamp.exists() and stamp.read_text() == _wanted()

    def prepare(self) -> None:
        """Download and unpack everything anew.

        Raises:
            CannotError: a tool or the network is missing.
        """
        if sys.version_info[:2] != (3, 11):
            raise CannotError("the emulated Debian has Python 3.11, and byte code is shared with it: run Python 3.11")
        missing = [tool for tool in ("apt-get", "dpkg", "tar") if not shutil.which(tool)]
        if missing:
            raise CannotError(f"{', '.join(missing)} not found: this needs a Debian or Ubuntu on x86-64")
        shutil.rmtree(self._folder, ignore_errors=True)
        for name in ("apt/lists/partial", "apt/archives/partial", "debs", "root", "host", "wheels", "site"):
            (self._folder / name).mkdir(parents=True)
        self._unpack_packages()
        self._unpack_wheels(_wanted().splitlines())
        for name in ("apt", "debs", "wheels"):
            shutil.rmtree(self._folder / name)
        (self._folder / "complete").write_text(_wanted())

    def _unpack_packages(self) -> None:
        apt, debs = self._folder / "apt", self._folder / "debs"
        (apt / "status").touch()
        (apt / "sources.list").write_text("\n".join([*MIRRORS, ""]))
        (apt / "conf").write_text(CONFIG.format(self._folder))
        environment = {**os.environ, "APT_CONFIG": str(apt / "conf")}
        _call(["apt-get", "update", "-qq"], "the package lists of Debian", environment)
        names = ["qemu-user-static:amd64", *(f"{name}:arm64" for name in PACKAGES)]
        _call(["apt-get", "download", "-qq", *names], "packages of Debian", environment, cwd=debs)
        for deb in debs.glob("*_arm64.deb"):
            _call(["dpkg", "-x", str(deb), str(self._root)], "an unpacked package")
        (emulator,) = debs.glob("*_amd64.deb")
        piped = f"dpkg --fsys-tarfile '{emulator}' | tar -x -C '{self._folder / 'host'}' ./usr/bin/{self._qemu.name}"
        _call(["sh", "-c", piped], "the emulator")

    def _unpack_wheels(self, wanted: Sequence[str]) -> None:
        folder = self._folder / "wheels"
        platforms = [part for name in PLATFORMS for part in ("--platform", f"{name}_aarch64")]
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
        choice = ["--only-binary=:all:", "--python-version", "3.11", *platforms, "-d", str(folder)]
        _call([*pip, *choice, *wanted], "wheels for aarch64")
        for wheel in folder.glob("*.whl"):
            with ZipFile(wheel) as archive:
                archive.extractall(self._site)
        # byte code is the same on every processor, and compiling it is slow under emulation
        compiling = [sys.executable, "-m", "compileall", "-q", str(self._site), str(self._root / "usr/lib/python3.11")]
        subprocess.run(compiling, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def python(self, source: Path, arguments: Sequence[str], settings: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start the emulated Python with modules from `source` and nothing of this process's environment."""
        environment = {
            "PATH": os.defpath,
            "PYTHONHOME": str(self._root / "usr"),
            "PYTHONPATH": f"{source}:{self._site}",
            **settings,
        }
        command = [str(self._qemu), "-L", str(self._root), str(self._root / "usr/bin/python3.11"), *arguments]
        return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)


def _wanted() -> str:
    """The wheels of this environment with their versions, a line each."""
    return "\n".join(f"{name}=={version(name)}" for name in WHEELS)


def _call(command: Sequence[str], what: str, environment: Mapping[str, str] | None = None, **options: Path) -> None:
    """Run a command that has to succeed.

    Raises:
        CannotError: it does not.
    """
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False, **options)
    if done.returncode:
        raise CannotError(f"could not get {what}: {(done.stderr or done.stdout).strip()[-800:]}")
