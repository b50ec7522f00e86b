"""The arithmetic of a device, on torch's CPU: the same bytes as the reference; refused where it differs."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conjoin import kernels
from conjoin.errors import SelfTestError, UnknownDeviceError
from conjoin.kernels import FORMATS, Coefficients, Trim, backend, selftest
from conjoin.kernels.backend import family

pytest.importorskip("torch")

GROUPS = ("elementwise", "order", "streams")
HAS = [name for name in selftest.CASES if name.partition(".")[0] in GROUPS]
HAS = [n for n in HAS if hasattr(family("device", n.partition(".")[0]), n.partition(".")[2])]


@pytest.fixture(autouse=True)
def fresh():
    kernels.use(None)
    yield
    kernels.use(None)
    kernels.use_device(None)


@pytest.mark.parametrize("operation", HAS)
def test_golden_digests(operation):
    assert selftest.passes(family("device", operation.partition(".")[0]), operation)


def test_what_merges_is_there():
    assert {"elementwise.linear", "elementwise.ties", "elementwise.delta_sum", "order.high_histograms"} <= set(HAS)


@pytest.mark.parametrize("form", ["BF16", "F16"])
@pytest.mark.parametrize("out_form", FORMATS)
def test_every_pattern(form, out_form):
    raw = np.arange(1 << 16).astype(np.uint16)
    sources, terms = [raw, raw[::-1].copy()], Coefficients((0.333333343267440796, 3.0), 7.0)
    found = {}
    for arithmetic in ("reference", "device"):
        kernels.use(arithmetic)
        found[arithmetic] = kernels.linear(sources, terms, form, out_form)
    assert (found["reference"] == found["device"]).all()


@settings(max_examples=40, deadline=None)
@given(
    form=st.sampled_from(list(FORMATS)),
    k=st.integers(1, 6),
    n=st.integers(0, 400),
    salt=st.integers(1, 1000),
    aggregate=st.sampled_from(["mean", "sum", "max"]),
    zero_sign=st.sampled_from([-1, 0, 1]),
    threshold=st.sampled_from([0, 1, 0x33000000, 0x3F000000, 0x7F800000]),
    drop=st.sampled_from([0, 1, 0x80000000, 0xFFFFFFFF]),
)
def test_same_bytes_as_the_reference(form, k, n, salt, aggregate, zero_sign, threshold, drop):
    base = selftest.patterns(form, 0, n)
    tensors = [selftest.near(form, salt + i, n) if i % 2 else selftest.patterns(form, salt + i, n) for i in range(k)]
    terms = Coefficients(tuple(float(1 + i % 3) for i in range(k)), 3.0)
    trim = Trim((threshold,) * k, (salt % 300,) * k)
    keys = [(salt, i, 3, 4) for i in range(k)]

    def everything():
        start = 4 * salt
        yield kernels.ties(
            tensors, base, form, form, terms=terms, trim=trim, start=start, aggregate=aggregate, zero_sign=zero_sign,
            scale=Coefficients((3.0,), 10.0),
        )  # fmt: skip
        yield kernels.elected_signs(tensors, base, form, terms, trim, start)
        yield kernels.delta_sum(tensors, base, form, "F32", terms=terms, drop_below=drop, keys=keys, start=start)
        yield kernels.high_histograms(tensors, base, form)
        yield kernels.draws(keys[0], salt, n)

    found = {}
    for arithmetic in ("reference", "device"):
        kernels.use(arithmetic)
        found[arithmetic] = [array.tobytes() for array in everything()]
    assert found["reference"] == found["device"]


def test_a_device_that_differs_is_left_with_a_note(monkeypatch):
    monkeypatch.setattr(family("device", "streams"), "draws", lambda key, start, count: np.full(count, 8, np.uint32))
    kernels.use_device("cpu")
    assert kernels.draws((0, 0, 0, 0), 0, 4)[0] == 0x6627E8D5
    assert "device" in kernels.backend_note()
    kernels.use("device")
    with pytest.raises(SelfTestError, match="device"):
        kernels.draws((0, 0, 0, 0), 0, 4)


def test_what_it_lacks_is_computed_by_the_processor():
    kernels.use_device("cpu")
    raw = selftest.patterns("F32", 1)
    assert kernels.block_gram([raw], None, "F32").shape == (1, 1, 1)
    assert kernels.backend_note() is None


def test_an_unknown_device_is_named():
    with pytest.raises(UnknownDeviceError, match="abacus"):
        kernels.use_device("abacus")
    assert kernels.current() == "compiled"


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "conjoin.kernels.device.tensors", None)
    with pytest.raises(UnknownDeviceError, match="needs torch"):
        kernels.use_device("cpu")
    assert backend.current() == "compiled"


def test_a_whole_merge_on_a_device(tmp_path):
    """Through the command line: the same output, and an unknown device is refused before any work."""
    arguments = [sys.executable, "-m", "conjoin"]
    subprocess.run([*arguments, "demo", tmp_path / "demo", "-q"], check=True, capture_output=True)
    out = {}
    for name, more in (("cpu", ["--device", "cpu"]), ("plain", [])):
        target = tmp_path / name
        command = [*arguments, "-C", tmp_path / "demo" / "north", "resolve", "ties", "-o", target, "-q", *more]
        subprocess.run(command, check=True, capture_output=True)
        out[name] = {path.name: path.read_bytes() for path in target.iterdir()}
    assert out["cpu"] == out["plain"]
    command = [*arguments, "-C", tmp_path / "demo" / "north", "resolve", "ties", "-o", tmp_path / "no"]
    refused = subprocess.run([*command, "--device", "abacus"], check=False, capture_output=True, text=True)
    assert (refused.returncode, "E113" in refused.stderr, (tmp_path / "no").exists()) == (2, True, False)
