"""Add the digests of new vector files to tests/vectors/index.json; refuses where bytes changed and the version did not.

Bytes that change need a new version of the strategy, a fragment `changes/<subject>.bits.md` that names both, and new
vectors. What an earlier version gave stays in the index.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[2] / "tests" / "vectors"
INDEX = TARGET / "index.json"

Index = dict[str, dict[str, dict[str, str]]]
"""Digest of what a vector gives, by strategy, version and name of the file."""


def read() -> Index:
    """The committed index."""
    return json.loads(INDEX.read_text()) if INDEX.exists() else {}


def digest_of(vector: dict[str, Any]) -> str:
    """SHA-256 over what is put in, the parameters and what comes out: everything but where the file comes from."""
    counted = {name: value for name, value in vector.items() if name != "provenance"}
    return hashlib.sha256(json.dumps(counted, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def found() -> Index:
    """What the vector files are now."""
    index: Index = {}
    for path in sorted(TARGET.glob("*/*.json")):
        vector = json.loads(path.read_text())
        index.setdefault(vector["strategy"], {}).setdefault(str(vector["version"]), {})[path.stem] = digest_of(vector)
    return index


def changed(known: Index, new: Index) -> list[str]:
    """The vectors whose digest is another one under the same version."""
    return [
        f"{strategy}/{name} (version {version})"
        for strategy, versions in new.items()
        for version, digests in versions.items()
        for name, digest in digests.items()
        if known.get(strategy, {}).get(version, {}).get(name, digest) != digest
    ]


def main() -> int:
    """Add what is new."""
    known, new = read(), found()
    problems = changed(known, new)
    if problems:
        print(f"changed without a new version: {', '.join(problems)}", file=sys.stderr)
        return 1
    for strategy, versions in new.items():
        for version, digests in versions.items():
            known.setdefault(strategy, {}).setdefault(version, {}).update(digests)
    INDEX.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    print(f"wrote {INDEX}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
