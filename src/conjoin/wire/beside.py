"""Which files go with a model, by their names: configuration, tokenizer, templates, licence; no program, no weights."""

from conjoin.wire.manifest import name_problem

_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".md", ".tiktoken", ".spm", ".vocab", ".bpe")
_NAMES = {"LICENSE", "NOTICE", "LICENCE", "README", "USE_POLICY"}
_NEVER = {"conjoin.json", "adapter_config.json"}


def goes_beside(name: str) -> bool:
    """Whether a file of this name is taken from a base, and copied beside a merge.

    Never weights or their index, programs, hidden files, an earlier merge's receipt, or names conjoin cannot carry.
    """
    lower = name.lower()
    if name_problem(name) or lower in _NEVER or lower.endswith(".index.json"):
        return False
    return lower.endswith(_SUFFIXES) or name in _NAMES
