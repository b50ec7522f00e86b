"""What happens in the demo: three replicas, shuffled delivery, one model; prints nothing."""

import filecmp
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from conjoin.apps.demo import family
from conjoin.apps.demo.family import SITES
from conjoin.errors import OutputExistsError
from conjoin.replica import Replica

STRATEGY = "weight_average"


@dataclass(frozen=True, slots=True)
class Model:
    """One model and how many held-out rows it reads correctly: of its own digits, and of all."""

    name: str
    digits: tuple[int, ...]
    own_correct: int
    own_rows: int
    correct: int
    rows: int


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened, and per replica what became visible (+) and what went (-) by it."""

    what: str
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """One replica at the end: what it saw in which order, and what it made of it."""

    replica: str
    arrived: tuple[str, ...]
    root: str
    output: str
    correct: int
    rows: int


@dataclass(frozen=True, slots=True)
class Pairwise:
    """The model that plain pairwise averaging gives in one order."""

    order: tuple[str, ...]
    digest: str
    correct: int
    rows: int


@dataclass(frozen=True, slots=True)
class Story:
    """Everything the demo has to tell."""

    folder: Path
    strategy: str
    models: tuple[Model, ...]
    steps: tuple[Step, ...]
    replicas: tuple[Ending, ...]
    identical: bool
    files_compared: tuple[str, ...]
    pairwise: tuple[Pairwise, ...]


@dataclass
class _Cast:
    """The replicas while the story runs: what is visible in each, and in which order it came."""

    folder: Path
    names: dict[str, str] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=lambda: {site: set() for site in SITES})
    arrived: dict[str, list[str]] = field(default_factory=lambda: {site: [] for site in SITES})
    steps: list[Step] = field(default_factory=list)

    def step(self, text: str, action: Callable[[], object]) -> None:
        """Do one thing, then note what appeared or disappeared where."""
        action()
        changes: list[str] = []
        for site in SITES:
            now = {self.names[digest] for digest in self.replica(site).visible}
            new, gone = sorted(now - self.seen[site]), sorted(self.seen[site] - now)
            events = (["+" + "+".join(new)] if new else []) + [f"-{name}" for name in gone]
            self.arrived[site] += events
            self.seen[site] = now
            changes += [f"{site} {' '.join(events)}"] if events else []
        self.steps.append(Step(text, tuple(changes)))

    def replica(self, site: str) -> Replica:
        """The replica of a site as it is on disk now."""
        return Replica.open(self.folder / site)

    def add(self, site: str) -> None:
        """Let a site offer its fine-tune."""
        title = f"digits {SITES[site][0]} to {SITES[site][-1]}"
        added = self.replica(site).add(self.folder / "checkpoints" / f"{site}.safetensors", title=title)
        self.names[added.contribution] = site

    def retract(self, site: str) -> None:
        """Let a site take its contribution back."""
        self.replica(site).retract(next(digest for digest, name in self.names.items() if name == site))

    def sync(self, site: str, other: str) -> None:
        """Let a site sync with another one, or with the shared folder."""
        self.replica(site).sync(self.folder / other)


def run(folder: Path) -> Story:
    """Make the replicas in `folder`, tell the story with them and leave everything there.

    Raises:
        OutputExistsError: `folder` exists. On any error nothing is left behind.
    """
    with new_folder(folder, "conjoin demo DIR"):
        (folder / "checkpoints").mkdir()
        (folder / "shared-folder").mkdir()
        (folder / "merged").mkdir()
        paths = family.copy_out(folder / "checkpoints", SITES)
        cast = _Cast(folder)
        Replica.init(folder / "north", paths["base"], name="digits")
        for site in ("south", "west"):
            Replica.clone(folder / "north", folder / site)
        _deliver(cast)
        endings = tuple(_resolve(cast, site) for site in SITES)
        compared, identical = compare([folder / "merged" / site for site in SITES])
        return Story(
            folder=folder,
            strategy=STRATEGY,
            models=tuple(describe(name, path, SITES) for name, path in paths.items()),
            steps=tuple(cast.steps),
            replicas=endings,
            identical=identical and len({(e.root, e.output) for e in endings}) == 1,
            files_compared=compared,
            pairwise=tuple(_pairwise(paths, order) for order in _orders()),
        )


def _deliver(cast: _Cast) -> None:
    """The deliveries: every replica hears of everything, each in its own order."""
    for site in SITES:
        cast.step(f"{site} adds its fine-tune", lambda site=site: cast.add(site))
    cast.step("north syncs with south", lambda: cast.sync("north", "south"))
    cast.step("west syncs with south", lambda: cast.sync("west", "south"))
    cast.step("west syncs with south again", lambda: cast.sync("west", "south"))
    cast.step("south retracts its own", lambda: cast.retract("south"))
    cast.step("west syncs with south", lambda: cast.sync("west", "south"))
    cast.step("south adds it again", lambda: cast.add("south"))
    cast.step("south fills a shared folder", lambda: cast.sync("south", "shared-folder"))
    cast.step("north, late, syncs with west", lambda: cast.sync("north", "west"))
    cast.step("north reads the shared folder", lambda: cast.sync("north", "shared-folder"))
    cast.step("west reads the shared folder", lambda: cast.sync("west", "shared-folder"))
    cast.step("south syncs with north", lambda: cast.sync("south", "north"))


def _resolve(cast: _Cast, site: str) -> Ending:
    """Let a site merge what it sees."""
    out = cast.folder / "merged" / site
    replica = cast.replica(site)
    receipt = replica.resolve(STRATEGY, out)
    correct, rows = family.correct(family.weights(out))
    return Ending(site, tuple(cast.arrived[site]), replica.root, receipt.output, correct, rows)


def describe(name: str, path: Path, sites: Mapping[str, tuple[int, ...]]) -> Model:
    """What the model of a site, or the base, reads correctly."""
    digits = sites.get(name, tuple(range(10)))
    loaded = family.weights(path)
    return Model(name, digits, *family.correct(loaded, digits), *family.correct(loaded))


def _orders() -> list[tuple[str, ...]]:
    """Each site's own model first, then the others in turn."""
    names = list(SITES)
    return [(*names[i:], *names[:i]) for i in range(len(names))]


def _pairwise(paths: dict[str, Path], order: tuple[str, ...]) -> Pairwise:
    model = family.averaged_pairwise([family.weights(paths[name]) for name in order])
    return Pairwise(order, family.digest(model), *family.correct(model))


def compare(folders: list[Path]) -> tuple[tuple[str, ...], bool]:
    """The files of the folders, and whether all folders hold the same files with the same bytes."""
    names = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) for folder in folders
    ]
    first = folders[0]
    same = all(listed == names[0] for listed in names) and all(
        filecmp.cmp(first / name, other / name, shallow=False) for other in folders[1:] for name in names[0]
    )
    return tuple(names[0]), same


@contextmanager
def new_folder(folder: Path, command: str) -> Generator[None]:
    """Make `folder`, and take it away again if the demo does not reach its end; `command` is what names another one.

    Raises:
        OutputExistsError: `folder` exists.
    """
    if folder.exists() or folder.is_symlink():
        raise OutputExistsError(
            "the demo's folder exists already", where=str(folder), hint=f"name another one: `{command}`"
        )
    folder.mkdir(parents=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
