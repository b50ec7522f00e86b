"""Write the golden digests of the kernels' self-test from the reference; for when bits change on purpose."""

from pathlib import Path

from conjoin.kernels import golden, selftest
from conjoin.kernels.backend import family

TARGET = Path(golden.__file__)


def main() -> None:
    """Replace golden.py."""
    lines = [f'"""{(golden.__doc__ or "").strip()}"""', "", "GOLDEN: dict[str, str] = {"]
    for name in selftest.CASES:
        module = family("reference", name.partition(".")[0])
        lines.append(f'    "{name}": "{selftest.digest_of(module, name)}",')
    TARGET.write_text("\n".join([*lines, "}", ""]))
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
