"""Checkpoint files => plain tensors and what the file says of its network. Nothing that a file holds is executed.

What is read: `.safetensors`; flat dictionaries of tensors in `.bin`, `.pt`, `.pth` (torch's own restricted reader); EDM's
`.pkl` (a pickled module with its source inside); a training folder with one of these in it.

An EDM pickle goes through `_InertUnpickler`, which neither imports nor calls what the pickle names: a name on its list
becomes an inert record of (name, arguments, state), any other name ends the reading. The tensors are built from these
records afterwards. The result is kept as safetensors, so that a pickle is read once.
"""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from modescope import files

log = logging.getLogger(__name__)

ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".pkl")
NAMES = ("pytorch_model.bin", "model.safetensors", "pytorch_model.safetensors")
"""Names under which a training folder keeps the generator, beside the states of optimisers and random streams."""

SETTINGS = ("sigma_min", "sigma_max", "sigma_data", "dropout", "label_dropout")
"""Parts of a configuration that no name or shape of a tensor tells; an EDM pickle does."""

_DEPTH = 32  # modules inside modules; published networks have 5


class CheckpointError(ValueError):
    """A checkpoint that is not what the network needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Tensors by name, the parts of the network's configuration that the file states, and the hash of the file."""

    path: Path
    state: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    sha256: str


def read(path: str | Path) -> Checkpoint:
    """A checkpoint file, or the one in a training folder. Raises CheckpointError naming the file and what is wrong."""
    found = find(Path(path))
    if found.suffix == ".pkl":
        return _read_edm(found)
    state, settings = _read_safetensors(found) if found.suffix == ".safetensors" else (_read_torch(found), {})
    return Checkpoint(path=found, state=state, settings=settings, sha256=files.sha256(found))


def find(path: Path) -> Path:
    """The checkpoint file that `path` is, or that the folder `path` holds: of the usual name first, the least nested."""
    if path.is_dir():
        return _inside(path)
    if not path.exists():
        raise CheckpointError(
            f"checkpoint {path} does not exist; check `generators` in params.yaml, or run `dvc repro`"
        )
    if path.suffix not in ENDINGS:
        raise CheckpointError(f"checkpoint {path} has an unknown ending; use {', '.join(ENDINGS)}, or a folder of one")
    return path


def _inside(folder: Path) -> Path:
    inner = sorted(path for path in folder.rglob("*") if path.suffix in ENDINGS and path.is_file())
    named = [path for path in inner if path.name in NAMES]
    among = named or inner
    if not among:
        raise CheckpointError(f"folder {folder} holds no checkpoint; give a file, or a folder with a {NAMES[0]} in it")
    depth = min(len(path.parts) for path in among)
    upper = [path for path in among if len(path.parts) == depth]
    if len(upper) > 1:
        listed = ", ".join(str(path.relative_to(folder)) for path in upper[:5])
        more = ", ..." if len(upper) > 5 else ""
        raise CheckpointError(f"folder {folder} holds {len(upper)} checkpoints: {listed}{more}; name one of them")
    return upper[0]


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise files.DamagedFileError(
            f"{path} cannot be read ({error}); it is damaged or incomplete: fetch it again (`dvc checkout`, or download)"
        ) from error
    try:
        settings = json.loads(metadata.get("config", "{}"))
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path} states a `config` that is no JSON ({error})") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"checkpoint {path} states a `config` that is no dictionary: {settings!r}")
    return state, settings


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different type for each way in which a file can be wrong
        raise CheckpointError(f"checkpoint {path} is refused ({type(error).__name__}): not plain tensors") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"checkpoint {path} is no flat dictionary of tensors, as DMD2's pytorch_model.bin is")
    return state


def _read_edm(path: Path) -> Checkpoint:
    """The converted tensors of a pickle where they are there and of its bytes; else read it, and keep them."""
    digest = files.sha256(path)
    beside, cached = path.with_name(f"{path.name}.safetensors"), _cache() / f"{digest}.safetensors"
    for place in (beside, cached):
        if place.is_file() and _source(place) == digest:
            state, settings = _read_safetensors(place)
            return Checkpoint(path=path, state=state, settings=settings, sha256=digest)
    state, settings = unpickled(path)
    metadata = {"config": json.dumps(settings), "source_sha256": digest}
    arrays = {name: value.numpy() for name, value in state.items()}
    for place in (beside, cached):
        try:
            files.write_tensors(place, arrays, metadata)
        except OSError as error:  # a folder that may not be written to, a full disk
            log.warning("the tensors of %s are not kept in %s: %s", path, place, error)
        else:
            log.info("the tensors of %s are kept in %s", path, place)
            break
    return Checkpoint(path=path, state=state, settings=settings, sha256=digest)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modescope"


def _source(path: Path) -> str | None:
    """Hash of the pickle that a file was made from; None where it does not say so or cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("source_sha256")
    except SafetensorError:
        return None


class _Inert:
    """Stands in for an object of a pickle: who would make it, from what. Nothing is made."""

    maker: ClassVar[str]
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        self = super().__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Items of a dictionary-like object: not needed."""

    def extend(self, values: Any) -> None:
        """Items of a list-like object: not needed."""

    append = extend


_MODULE = "torch_utils.persistence._reconstruct_persistent_obj"
_PARAMETER = "torch._utils._rebuild_parameter"
_TENSOR = "torch._utils._rebuild_tensor_v2"
_STORAGE = "torch.storage._load_from_bytes"
_DICTIONARIES = {"collections.OrderedDict", "dnnlib.util.EasyDict"}
_LISTED = {
    _MODULE,
    _PARAMETER,
    _TENSOR,
    _STORAGE,
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.dtype",
    "numpy.ndarray",
    "torch.Size",
    "torch.device",
    "torch.float16",
    "torch.float32",
}
_LAYERS = "torch.nn.modules."


class _InertUnpickler(pickle.Unpickler):
    """Builds plain containers and `_Inert` records. It imports nothing, and calls nothing but the constructors of these.

    Every reading makes its own classes, so that a pickle that writes to one spoils no other reading.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file)
        self._made: dict[str, type] = {"builtins.set": set}

    def find_class(self, module: str, name: str) -> type:
        maker = f"{module}.{name}"
        if maker not in self._made:
            self._made[maker] = self._stand_in(maker)
        return self._made[maker]

    def _stand_in(self, maker: str) -> type:
        if maker in _DICTIONARIES:
            return type("Dictionary", (dict,), {"__setstate__": lambda self, state: None})
        if maker in _LISTED or maker.startswith(_LAYERS):
            return type("Inert", (_Inert,), {"maker": maker})
        raise CheckpointError(f"it names {maker}, which no network of EDM needs")

    def persistent_load(self, pid: Any) -> Any:
        raise CheckpointError("it refers to objects outside itself")


def unpickled(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of the `ema` network of an EDM pickle, and its `SETTINGS`. The source inside is never looked at."""
    try:
        with path.open("rb") as file:
            content = _InertUnpickler(file).load()
        network = content["ema"] if isinstance(content, dict) and "ema" in content else content
        state = dict(_tensors(network))
        settings = _settings(network)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path} is refused: {error}") from error
    except Exception as error:  # a pickle can be wrong in as many ways as there are operations in it
        raise CheckpointError(f"checkpoint {path} is refused ({type(error).__name__}): no EDM pickle") from error
    return state, settings


def _attributes(module: Any) -> Mapping[str, Any]:
    """Attributes of a pickled module: EDM's own classes keep them in the arguments, torch's in the state."""
    if not isinstance(module, _Inert) or not (module.maker == _MODULE or module.maker.startswith(_LAYERS)):
        raise CheckpointError("it holds no network under 'ema'")
    return module.args[0]["state"] if module.maker == _MODULE else module.state


def _tensors(module: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Named parameters and buffers of a pickled module and of the modules inside it, as its state dict has them."""
    if depth > _DEPTH:
        raise CheckpointError(f"its modules are nested deeper than {_DEPTH}")
    held = _attributes(module)
    passing = held.get("_non_persistent_buffers_set", ())
    buffers = {name: value for name, value in held.get("_buffers", {}).items() if name not in passing}
    for name, value in {**held.get("_parameters", {}), **buffers}.items():
        if value is not None:
            yield f"{prefix}{name}", _tensor(value)
    for name, inner in held.get("_modules", {}).items():
        if inner is not None:
            yield from _tensors(inner, f"{prefix}{name}.", depth + 1)


def _tensor(record: Any) -> Tensor:
    if isinstance(record, _Inert) and record.maker == _PARAMETER:
        record = record.args[0]
    if not isinstance(record, _Inert) or record.maker != _TENSOR:
        raise CheckpointError("a parameter of its network is no tensor")
    storage, offset, size, stride = record.args[:4]
    if not isinstance(storage, _Inert) or storage.maker != _STORAGE:
        raise CheckpointError("a tensor of its network has no values")
    # The bytes are a file of torch inside the pickle, read by torch's own restricted reader.
    held = torch.load(io.BytesIO(storage.args[0]), map_location="cpu", weights_only=True)
    values = torch.empty(0, dtype=held.dtype).set_(held._untyped_storage)
    return values.as_strided(size, stride, offset).clone()  # as_strided refuses what lies outside the storage


def _settings(network: _Inert) -> dict[str, Any]:
    """What the network was built with and no tensor tells. Other preconditionings and U-Nets than ours are refused."""
    kind = network.args[0].get("class_name") if network.maker == _MODULE else None
    built = _attributes(network).get("_init_kwargs", {})
    shape = built.get("model_type", "DhariwalUNet")
    if kind != "EDMPrecond" or shape != "DhariwalUNet":
        raise CheckpointError(
            f"its network is a {kind} around a {shape}; this version knows EDMPrecond around DhariwalUNet (ADM)"
        )
    return {name: float(built[name]) for name in SETTINGS if isinstance(built.get(name), int | float)}
