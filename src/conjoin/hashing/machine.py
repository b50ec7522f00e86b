"""Machine: SHA-256's compression of sixteen messages at once, as LLVM code for AVX-512; knows no message.

One 32-bit word of each message stands in a lane of a 512-bit register, so that every instruction of the round function
(FIPS 180-4, 6.2.2) works for sixteen messages. The rounds are a loop over 16 at a time, not unrolled, because making
the machine code costs a process more than a gigabyte of hashing would gain.
"""

import ctypes
import functools
from collections.abc import Callable, Iterable, Sequence

from conjoin.hashing.kept import keep, recall

LANES = 16
BLOCK_BYTES = 64
INITIAL = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)  # fmt: skip
"""The state before the first block: FIPS 180-4, 5.3.3."""
CONSTANTS = (
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2,
)  # fmt: skip
"""The round constants: FIPS 180-4, 4.2.2."""

Compress = Callable[[int, int, int], None]
"""Addresses of the state (8 × 16 words) and of 16 addresses of data, and how many blocks to take from each."""

_FEATURES = ("avx512f", "avx512bw", "avx512vl", "avx512dq")
_V = f"<{LANES} x i32>"
_CHUNK = 16


@functools.cache
def compression() -> Compress | None:
    """The machine code, kept or made now; None where this processor lacks the instructions or there is no llvmlite."""
    try:
        from llvmlite import __version__, binding
    except ImportError:
        return None
    host = binding.get_host_cpu_features()
    if not all(host.get(feature) for feature in _FEATURES):
        return None
    try:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        text = source()
        module = binding.parse_assembly(text)
        features = ",".join([*(f"+{feature}" for feature in _FEATURES), "-prefer-256-bit"])
        machine = binding.Target.from_default_triple().create_target_machine(cpu="", features=features, opt=2)
        engine = binding.create_mcjit_compiler(module, machine)
        stamp = "\n".join([__version__, binding.get_process_triple(), binding.get_host_cpu_name(), features, text])
        engine.set_object_cache(*_keeping(stamp))
        engine.finalize_object()
    except RuntimeError:
        return None
    kind = ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64)
    function = kind(engine.get_function_address("compress"))

    def compress(state: int, data: int, blocks: int) -> None:
        function(state, data, blocks)

    compress.__dict__["kept"] = engine, machine  # the code lives as long as they do
    return compress


def _keeping(stamp: str) -> tuple[Callable[[object, bytes], None], Callable[[object], bytes | None]]:
    """What LLVM calls when it has made machine code, and before."""

    def made(_module: object, code: bytes) -> None:
        keep("compress", stamp, code)

    def wanted(_module: object) -> bytes | None:
        return recall("compress", stamp)

    return made, wanted


class _Code:
    """Lines of LLVM code, each value with a number."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def line(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def value(self, expression: str) -> str:
        self._count += 1
        self.line(f"%t{self._count} = {expression}")
        return f"%t{self._count}"

    def add(self, first: str, *others: str) -> str:
        return functools.reduce(lambda a, b: self.value(f"add {_V} {a}, {b}"), others, first)

    def xor(self, first: str, *others: str) -> str:
        return functools.reduce(lambda a, b: self.value(f"xor {_V} {a}, {b}"), others, first)

    def both(self, a: str, b: str) -> str:
        return self.value(f"and {_V} {a}, {b}")

    def either(self, a: str, b: str) -> str:
        return self.value(f"or {_V} {a}, {b}")

    def rotated(self, a: str, bits: int) -> str:
        return self.value(f"call {_V} @llvm.fshr.v{LANES}i32({_V} {a}, {_V} {a}, {_V} splat (i32 {bits}))")

    def shifted(self, a: str, bits: int) -> str:
        return self.value(f"lshr {_V} {a}, splat (i32 {bits})")

    def at(self, kind: str, base: str, index: int | str) -> str:
        return self.value(f"getelementptr {kind}, ptr {base}, i64 {index}")

    def picked(self, width: int, a: str, b: str, lanes: Iterable[int]) -> str:
        """Lanes of `a` (0 to width − 1) and of `b` (width on)."""
        mask = [f"i32 {lane}" for lane in lanes]
        kind = f"<{width} x i32>"
        return self.value(f"shufflevector {kind} {a}, {kind} {b}, <{len(mask)} x i32> <{', '.join(mask)}>")


def source() -> str:
    """The function `compress(state, data, blocks)` in LLVM's language; `blocks` is at least 1."""
    code = _Code()
    before, after = [f"%h{i}" for i in range(8)], [f"%e{i}" for i in range(8)]
    places = [f"%s{i}" for i in range(8)]
    code.label("entry")
    code.line(f"%words = alloca [16 x {_V}], align 64")
    for i in range(LANES):
        code.line(f"%dp{i} = getelementptr ptr, ptr %data, i64 {i}")
        code.line(f"%d{i} = load ptr, ptr %dp{i}")
    for i, place in enumerate(places):
        code.line(f"{place} = getelementptr {_V}, ptr %state, i64 {i}")
        code.line(f"%g{i} = load {_V}, ptr {place}, align 4")
    code.line("br label %block")
    code.label("block")
    code.line("%i = phi i64 [0, %entry], [%next, %last]")
    for i in range(8):
        code.line(f"{before[i]} = phi {_V} [%g{i}, %entry], [{after[i]}, %last]")
    code.line(f"%offset = mul i64 %i, {BLOCK_BYTES}")
    _load(code)
    words = [code.value(f"load {_V}, ptr {code.at(_V, '%words', i)}, align 64") for i in range(_CHUNK)]
    state = _rounds(code, before, words)
    for i in range(8):
        code.line(f"{after[i]} = add {_V} {before[i]}, {state[i]}")
    code.line("%next = add i64 %i, 1")
    code.line("%more = icmp slt i64 %next, %blocks")
    code.line("br i1 %more, label %block, label %done")
    code.label("done")
    for value, place in zip(after, places, strict=True):
        code.line(f"store {_V} {value}, ptr {place}, align 4")
    code.line("ret void")
    constants = ", ".join(f"i32 {_signed(k)}" for k in CONSTANTS)
    return "\n".join(
        [
            f"@k = private constant [64 x i32] [{constants}]",
            f"declare {_V} @llvm.fshr.v{LANES}i32({_V}, {_V}, {_V})",
            "define void @compress(ptr %state, ptr %data, i64 %blocks) {",
            *code.lines,
            "}",
        ]
    )


def _load(code: _Code) -> None:
    """Read one block of every message and turn it: %words[t] = word t of each, in the order of the messages.

    Four words at a time: a register takes them from four messages, 4 × 4 words are turned within each 128-bit part.
    """
    code.line("br label %quad")
    code.label("quad")
    code.line("%q = phi i64 [0, %block], [%qn, %quad]")
    code.line("%inside = mul i64 %q, 16")
    code.line("%from = add i64 %offset, %inside")
    rows = [_row(code, row) for row in range(4)]
    parts = range(0, LANES, 4)
    words = [x for p in parts for x in (p, LANES + p, p + 1, LANES + p + 1)]
    pairs = [x for p in parts for x in (p, p + 1, LANES + p, LANES + p + 1)]
    upper = [[x + 2 for x in words], [x + 2 for x in pairs]]
    a, b = (code.picked(LANES, rows[0], rows[1], which) for which in (words, upper[0]))
    c, d = (code.picked(LANES, rows[2], rows[3], which) for which in (words, upper[0]))
    turned = [code.picked(LANES, x, y, which) for x, y in ((a, c), (b, d)) for which in (pairs, upper[1])]
    four = code.at(f"[4 x {_V}]", "%words", "%q")
    for index, value in enumerate(turned):
        code.line(f"store {_V} {value}, ptr {code.at(_V, four, index)}, align 64")
    code.line("%qn = add i64 %q, 1")
    code.line("%qm = icmp slt i64 %qn, 4")
    code.line("br i1 %qm, label %quad, label %loaded")
    code.label("loaded")


def _row(code: _Code, row: int) -> str:
    """Four big-endian words of messages row, row + 4, row + 8, row + 12."""
    found: list[str] = []
    for lane in range(row, LANES, 4):
        found.append(code.value(f"load <4 x i32>, ptr {code.at('i8', f'%d{lane}', '%from')}, align 1"))
    width = 4
    while width < LANES:
        found = [code.picked(width, a, b, range(2 * width)) for a, b in zip(found[::2], found[1::2], strict=True)]
        width *= 2
    size = 4 * LANES
    mask = ", ".join(f"i32 {4 * (x // 4) + 3 - x % 4}" for x in range(size))
    raw = code.value(f"bitcast {_V} {found[0]} to <{size} x i8>")
    swapped = code.value(f"shufflevector <{size} x i8> {raw}, <{size} x i8> poison, <{size} x i32> <{mask}>")
    return code.value(f"bitcast <{size} x i8> {swapped} to {_V}")


def _rounds(code: _Code, state: Sequence[str], words: Sequence[str]) -> list[str]:
    """All 64 rounds: three times sixteen with the next sixteen words of the schedule, and sixteen without."""
    code.line("br label %rounds")
    code.label("rounds")
    code.line("%r = phi i64 [0, %loaded], [%rn, %rounds]")
    here = len(code.lines)
    code.line("%kr = getelementptr i32, ptr @k, i64 %r")
    old_state, old_words = [f"%v{i}" for i in range(8)], [f"%w{i}" for i in range(_CHUNK)]
    new_state, new_words = _sixteen(code, old_state, old_words, "%kr", schedule=True)
    code.lines[here:here] = [
        f"  {old} = phi {_V} [{start}, %loaded], [{new}, %rounds]"
        for old, start, new in zip([*old_state, *old_words], [*state, *words], [*new_state, *new_words], strict=True)
    ]
    code.line(f"%rn = add i64 %r, {_CHUNK}")
    code.line("%rm = icmp slt i64 %rn, 48")
    code.line("br i1 %rm, label %rounds, label %last")
    code.label("last")
    code.line("%kl = getelementptr i32, ptr @k, i64 48")
    return _sixteen(code, new_state, new_words, "%kl", schedule=False)[0]


def _sixteen(
    code: _Code, state: Sequence[str], words: Sequence[str], constants: str, *, schedule: bool
) -> tuple[list[str], list[str]]:
    """Sixteen rounds on `state`, and the words for the sixteen after them."""
    a, b, c, d, e, f, g, h = state
    w = list(words)
    for t in range(_CHUNK):
        one = code.value(f"load i32, ptr {code.at('i32', constants, t)}")
        one = code.value(f"insertelement {_V} poison, i32 {one}, i32 0")
        k = code.value(f"shufflevector {_V} {one}, {_V} poison, {_V} zeroinitializer")
        choice = code.xor(code.both(e, code.xor(f, g)), g)
        majority = code.either(code.both(a, b), code.both(c, code.either(a, b)))
        sum_e = code.xor(*(code.rotated(e, bits) for bits in (6, 11, 25)))
        sum_a = code.xor(*(code.rotated(a, bits) for bits in (2, 13, 22)))
        first = code.add(h, code.add(w[t], k), sum_e, choice)
        a, b, c, d, e, f, g, h = code.add(first, code.add(sum_a, majority)), a, b, c, code.add(d, first), e, f, g
        if schedule:
            late, early = w[(t + 14) % _CHUNK], w[(t + 1) % _CHUNK]
            small_late = code.xor(code.rotated(late, 17), code.rotated(late, 19), code.shifted(late, 10))
            small_early = code.xor(code.rotated(early, 7), code.rotated(early, 18), code.shifted(early, 3))
            w[t] = code.add(code.add(w[t], small_early), code.add(w[(t + 9) % _CHUNK], small_late))
    return [a, b, c, d, e, f, g, h], w


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word
