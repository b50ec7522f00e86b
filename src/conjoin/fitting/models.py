"""Models to run: a Hugging Face folder or a factory of the user's; runs no code of a folder and opens no pickle.

A model is a torch module and a map from the checkpoint's tensor names to its own, so that it can be run with any
tensors of those names: the checkpoint's, merged ones, or ones with a task's own head.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from conjoin.errors import BadDataError, ChangedFileError
from conjoin.fitting.data import Batch
from conjoin.fitting.machine import Tensor, quiet, torch, transformers
from conjoin.store.checkpoint import Checkpoint, CheckpointTensor, FileIdentity
from conjoin.store.files import open_regular, read_at, translated_os_errors

Shapes = Mapping[str, tuple[int, ...]]
"""Tensor names of a checkpoint and their shapes."""
_LISTED_MAX = 20
_DTYPES = {
    **{"BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "F16": "float16"},
    **{"BF16": "bfloat16", "I32": "int32", "U32": "uint32", "F32": "float32", "F64": "float64"},
    **{"I64": "int64", "U64": "uint64"},
}
_TOKENIZERS_OWN = frozenset({"attention_mask", "token_type_ids"})
"""Inputs that tokenizers give to models that have no use for them."""
_OLD_NAMES = {"gamma": "weight", "beta": "bias"}


@dataclass(frozen=True)
class Model:
    """A module in eval mode, and how a checkpoint's tensors go into it.

    Attributes:
        module: the torch module, float32; its own values are never used where the checkpoint has some.
        where: the folder or factory, as errors name it.
        names: tensor name of the checkpoint → its name in the module. Names of one tied tensor have the same value.
        tied: every name of a tensor in the module → the one that stands for all of its names.
        unused: tensors of the checkpoint that the model does not have.
        missing: float tensors of the model that the checkpoint does not have; they must come with a head.
        causal: position t of the logits predicts token t + 1.
        takes: names of the inputs it takes; None where it takes any.
    """

    module: Any
    where: str
    names: Mapping[str, str]
    tied: Mapping[str, str]
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    causal: bool
    takes: frozenset[str] | None

    def forward(self, tensors: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The logits of a batch, (n, classes) or (n, tokens, classes), with `tensors` (by checkpoint name) in place.

        Gradients flow to `tensors`. Of tied names the first that is given is used.

        Raises:
            BadDataError: the model gives no logits, lacks a tensor, or refuses the inputs.
        """
        return self._logits(self.run(tensors, batch))

    def features(self, tensors: Mapping[str, Tensor], batch: Batch, name: str = "") -> Tensor:
        """What goes into the module `name`, by default into the last Linear that runs: (n, d) or (n, tokens, d).

        Raises:
            BadDataError: there is no such module, or it did not run; and as `forward`.
        """
        lib = torch()
        if name:
            watched = [self._submodule(name)]
        else:
            watched = [module for module in self.module.modules() if isinstance(module, lib.nn.Linear)]
        seen: list[Tensor] = []

        def keep(_: Any, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
            seen.append(given[0] if given else next(iter(named.values())))

        with ExitStack() as hooks:
            for module in watched:
                hooks.callback(module.register_forward_pre_hook(keep, with_kwargs=True).remove)
            self.run(tensors, batch)
        if not seen:
            what = f"the module `{name}` did not run" if name else "no Linear ran, so there is no last representation"
            raise BadDataError(what, where=self.where, hint="name a module that runs with `--features-of NAME`")
        return seen[-1]

    def run(self, tensors: Mapping[str, Tensor], batch: Batch) -> Any:
        """Whatever the module returns for a batch."""
        placed: dict[str, Tensor] = {}
        for name, tensor in sorted(tensors.items()):
            mine = self.names.get(name) or (name if name in self.missing else None)
            if mine is not None:
                placed.setdefault(mine, tensor)
        lacking = [name for name in self.missing if name not in placed]
        if lacking:
            _refuse(
                f"the checkpoint lacks {len(lacking)} of the model's tensors:\n{_listed(lacking)}",
                self.where,
                "give the checkpoint that holds them, or a `--head` file with them",
            )
        inputs = self._inputs(batch)
        try:
            return torch().func.functional_call(self.module, placed, args=(), kwargs=inputs)
        except BadDataError:
            raise
        except Exception as cause:  # a model raises what it likes
            raise BadDataError(
                f"the model fails on examples {batch.start} to {batch.stop - 1}: {_first_line(cause)}",
                where=self.where,
                hint="check names, shapes and dtypes of the inputs: "
                + ", ".join(f"{name} {tuple(value.shape)} {value.dtype}" for name, value in batch.inputs.items()),
            ) from cause

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        """The inputs by keyword; of a tokenizer's only those that the model takes."""
        if self.takes is None:
            return dict(batch.inputs)
        strange = sorted(set(batch.inputs) - self.takes - _TOKENIZERS_OWN)
        if strange:
            _refuse(
                f"the model takes no input called {', '.join(map(repr, strange))}",
                self.where,
                f"it takes {', '.join(sorted(self.takes))}",
            )
        return {name: tensor for name, tensor in batch.inputs.items() if name in self.takes}

    def _submodule(self, name: str) -> Any:
        modules = dict(self.module.named_modules())
        if name not in modules:
            _refuse(f"the model has no module `{name}`", self.where, f"it has:\n{_listed([m for m in modules if m])}")
        return modules[name]

    def _logits(self, output: Any) -> Tensor:
        kind = torch().Tensor
        found: Any = output if isinstance(output, kind) else getattr(output, "logits", None)
        if found is None and isinstance(output, Mapping):
            found = output.get("logits")
        if found is None and isinstance(output, tuple) and output and not hasattr(output, "_fields"):
            found = output[0]
        if not isinstance(found, kind) or len(getattr(found, "shape", ())) not in (2, 3):
            _refuse(
                f"{type(self.module).__name__} gives no logits of shape (examples, classes) or "
                "(examples, tokens, classes)",
                self.where,
                "a model with a head is needed; config.json names the class under `architectures`",
            )
        return found


def open_model(checkpoint: Checkpoint, factory: str | None = None) -> Model:
    """The model of a checkpoint.

    Args:
        checkpoint: a Hugging Face folder, or anything if `factory` is given.
        factory: `package.module:function` that returns a torch module, as the user named it; it is imported and called.

    Raises:
        BadDataError: as `open_folder` and `open_factory`.
        MissingExtraError: torch or transformers is not installed.
    """
    shapes = {tensor.name: tensor.shape for tensor in checkpoint.tensors}
    if factory is not None:
        return open_factory(factory, shapes)
    return open_folder(checkpoint.path, shapes)


def open_factory(factory: str, shapes: Shapes) -> Model:
    """The model that a function of the user's returns, for a checkpoint of these tensors.

    Args:
        factory: `package.module:function`, as the user named it; it is imported and called.
        shapes: the checkpoint's tensors.

    Raises:
        BadDataError: it cannot be called, or returns no torch module; and as `build`.
        MissingExtraError: torch is not installed.
    """
    return build(_call(factory), f"--model {factory}", shapes)


def open_folder(folder: Path, shapes: Shapes) -> Model:
    """The model that a Hugging Face folder's config.json describes, for a checkpoint of these tensors.

    Raises:
        BadDataError: there is no config.json, or it describes nothing that transformers itself has.
        MissingExtraError: torch or transformers is not installed.
    """
    config = folder / "config.json"
    if not config.is_file() or config.is_symlink():
        _refuse(
            "there is no config.json, so nothing says which model this is",
            str(folder),
            "give a Hugging Face folder, or your own code: `--model package.module:function` returning a torch module",
        )
    return build(_from_config(folder), str(folder), shapes)


def build(module: Any, where: str, shapes: Shapes) -> Model:
    """Fit a module to the tensors of a checkpoint.

    Args:
        module: a torch module.
        where: what it came from, for errors.
        shapes: the checkpoint's tensors.

    Raises:
        BadDataError: no tensor fits, or shapes differ; all that differ are listed.
    """
    module = module.float().eval()
    own = dict(module.state_dict(keep_vars=True))
    first: dict[int, str] = {}
    for name in sorted(own):
        first.setdefault(id(own[name]), name)
    prefix = str(getattr(module, "base_model_prefix", "") or "")
    names: dict[str, str] = {}
    for name in shapes:
        mine = _own_name(name, own, prefix)
        if mine is not None:
            names[name] = first[id(own[mine])]
    wrong = [
        f"{name} is {shapes[name]}, the model's is {tuple(own[mine].shape)}"
        for name, mine in sorted(names.items())
        if shapes[name] != tuple(own[mine].shape)
    ]
    if wrong:
        _refuse(f"{len(wrong)} tensors have other shapes than the model's:\n{_listed(wrong)}", where)
    if not names:
        _refuse("the checkpoint has none of the model's tensors", where, f"the model has:\n{_listed(sorted(own))}")
    held = set(names.values())
    return Model(
        module,
        where,
        names,
        {name: first[id(tensor)] for name, tensor in own.items()},
        unused=tuple(sorted(name for name in shapes if name not in names)),
        missing=tuple(sorted(name for name in first.values() if name not in held and own[name].is_floating_point())),
        causal=type(module).__name__.endswith(("ForCausalLM", "LMHeadModel")) or bool(getattr(module, "causal", False)),
        takes=_inputs_of(module),
    )


def read_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name; floats as float32.

    Raises:
        ChangedFileError: a file was changed since the gate saw it.
    """
    lib = torch()
    found: dict[str, Tensor] = {}
    with ExitStack() as stack:
        descriptors: dict[Path, int] = {}
        for tensor in checkpoint.tensors:
            with translated_os_errors(tensor.file.path):
                if tensor.file.path not in descriptors:
                    descriptors[tensor.file.path] = open_regular(tensor.file.path)
                    stack.callback(os.close, descriptors[tensor.file.path])
                found[tensor.name] = as_tensor(_read(tensor, descriptors[tensor.file.path]), tensor.dtype, tensor.shape)
                if found[tensor.name].is_floating_point():
                    found[tensor.name] = found[tensor.name].to(lib.float32)
    return found


def as_tensor(data: bytearray, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor on these bytes, of a safetensors dtype."""
    lib = torch()
    kind = getattr(lib, _DTYPES[dtype])
    if not data:
        return lib.empty(shape, dtype=kind)
    return lib.from_numpy(np.frombuffer(data, np.uint8)).view(kind).reshape(shape)


def _read(tensor: CheckpointTensor, descriptor: int) -> bytearray:
    data = bytearray(tensor.size_bytes)
    got = read_at(descriptor, memoryview(data), tensor.offset)
    if got != len(data) or FileIdentity.of(os.fstat(descriptor)) != tensor.file.identity:
        raise ChangedFileError("the file was changed while it was read", where=str(tensor.file.path))
    return data


def _from_config(folder: Path) -> Any:
    """A module of the class that config.json names, if transformers itself has it; its values are of no meaning."""
    hf, lib = transformers(), torch()
    where = str(folder / "config.json")
    try:
        with quiet(hf):
            config = hf.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as cause:  # transformers raises many kinds
        raise BadDataError(f"transformers cannot use it: {_first_line(cause)}", where=where) from cause
    if getattr(config, "quantization_config", None) is not None:
        _refuse("the model is quantised", where, "give the original weights in F32, F16 or BF16")
    config._attn_implementation = "eager"  # noqa: SLF001  (other values may name code to download)
    name = (getattr(config, "architectures", None) or [""])[0]
    known: Any = getattr(hf, name, None) if name.isidentifier() else None
    if known is None or not (isinstance(known, type) and issubclass(known, hf.PreTrainedModel)):
        _refuse(
            f"`architectures` names {name!r}, which is no model class of transformers {hf.__version__}",
            where,
            "write the class that the weights belong to, such as BertForSequenceClassification; "
            "code in the folder is never run",
        )
    make: Callable[[Any], Any] = known
    try:
        with lib.random.fork_rng(devices=[]), quiet(hf):
            return make(config)
    except Exception as cause:
        raise BadDataError(f"transformers cannot make a {name} of it: {_first_line(cause)}", where=where) from cause


def _call(factory: str) -> Any:
    """The module that the user's function returns."""
    path, _, name = factory.partition(":")
    where = f"--model {factory}"
    try:
        with _working_directory_searched():
            function: Callable[[], Any] = getattr(importlib.import_module(path), name)
    except (ImportError, AttributeError, ValueError) as cause:
        raise BadDataError(
            f"it cannot be imported: {_first_line(cause)}",
            where=where,
            hint="write `--model package.module:function`; the working directory is searched too",
        ) from cause
    try:
        with torch().random.fork_rng(devices=[]), _working_directory_searched():
            module = function()
    except Exception as cause:
        raise BadDataError(f"the function fails: {_first_line(cause)}", where=where) from cause
    if not isinstance(module, torch().nn.Module):
        _refuse(f"the function returned a {type(module).__name__} and not a torch module", where)
    return module


@contextmanager
def _working_directory_searched() -> Generator[None]:
    """The user's own modules are found where the command is run, wherever `conjoin` itself is installed."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")


def _own_name(name: str, own: Mapping[str, Any], prefix: str) -> str | None:
    """The module's name for a checkpoint's tensor: with or without the backbone's prefix, and of old LayerNorms."""
    head, dot, last = name.rpartition(".")
    for known in (name, head + dot + _OLD_NAMES.get(last, last)):
        for candidate in (known, f"{prefix}.{known}", known.removeprefix(f"{prefix}.")):
            if candidate in own:
                return candidate
    return None


def _inputs_of(module: Any) -> frozenset[str] | None:
    parameters = inspect.signature(module.forward).parameters.values()
    if not hasattr(module, "base_model_prefix") and any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def _listed(lines: list[str]) -> str:
    more = [f"… and {len(lines) - _LISTED_MAX} more"] if len(lines) > _LISTED_MAX else []
    return "\n".join(f"  {line}" for line in lines[:_LISTED_MAX] + more)


def _first_line(cause: Exception) -> str:
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]


def _refuse(what: str, where: str, hint: str | None = None) -> NoReturn:
    raise BadDataError(what, where=where, hint=hint)
