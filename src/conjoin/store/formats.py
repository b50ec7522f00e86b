"""Which files are refused on sight; knows names and first bytes, opens nothing."""

_PICKLE = "a pickle, which can run code when it is opened"
_ARCHIVE = "an archive, which can hide a pickle"
_SUFFIXES = {
    ".bin": _PICKLE,
    ".pt": _PICKLE,
    ".pth": _PICKLE,
    ".ckpt": _PICKLE,
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".joblib": _PICKLE,
    ".npy": "a NumPy array file, which can hold a pickle",
    ".npz": "a NumPy archive, which can hold a pickle",
    ".h5": "an HDF5 file",
    ".hdf5": "an HDF5 file",
    ".keras": _ARCHIVE,
    ".gguf": "a GGUF file",
    ".ggml": "a GGML file",
    ".onnx": "an ONNX file",
    ".zip": _ARCHIVE,
    ".7z": _ARCHIVE,
    ".tar": _ARCHIVE,
    ".gz": _ARCHIVE,
    ".tgz": _ARCHIVE,
    ".xz": _ARCHIVE,
    ".bz2": _ARCHIVE,
    ".zst": _ARCHIVE,
    ".rar": _ARCHIVE,
    ".py": "a program",
}
_MAGIC = (
    (b"PK\x03\x04", "a zip archive or a PyTorch pickle"),
    (b"PK\x05\x06", "a zip archive"),
    (b"PK\x07\x08", "a zip archive"),
    (b"GGUF", "a GGUF file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"\x93NUMPY", "a NumPy array file, which can hold a pickle"),
    (b"\x1f\x8b", _ARCHIVE),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (b"\xfd7zXZ\x00", _ARCHIVE),
    (b"BZh", _ARCHIVE),
    (b"Rar!", _ARCHIVE),
)


def format_of_name(name: str) -> str | None:
    """What a file with a refused name is, or None when the name says nothing against it."""
    lower = name.lower()
    return next((what for suffix, what in _SUFFIXES.items() if lower.endswith(suffix)), None)


def format_of_bytes(start: bytes) -> str | None:
    """What a file that begins with `start` (up to 512 bytes) is, or None when that says nothing against it."""
    if start[8:9] == b"{" and start[4:8] == b"\x00\x00\x00\x00":  # a small length field, then JSON
        return None
    if start[:1] == b"\x80" and start[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return _PICKLE
    if start[257:262] == b"ustar":
        return _ARCHIVE
    return next((what for magic, what in _MAGIC if start.startswith(magic)), None)
