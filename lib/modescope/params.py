"""The typed mirror of params.yaml: every default stands there, every bound here."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*(-[A-Za-z0-9_.]+)*$")]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]
Sigma = Annotated[float, Field(gt=0)]
T = TypeVar("T")
Family = Literal["edm"]
Precision = Literal["float32", "tf32", "bfloat16", "float16", "winograd"]


class ParamsError(ValueError):
    """params.yaml holds something that it may not."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RuntimeParams(_Section):
    device: str
    threads: Annotated[int, Field(ge=0)]
    compile: bool
    channels_last: bool
    deterministic: bool
    launch: Literal["local", "accelerate", "ray"]
    processes: Positive | None
    address: str | None


class RealParams(_Section):
    npz_dir: str | None
    imagenet_dir: str | None
    split: str | None
    resolution: Positive | None
    preprocessing: Literal["center-crop", "squash"]
    filter: str
    flip: bool
    strict: bool
    cache: str | None
    pixels: Literal["auto", "stored", "source"]
    num_samples: Positive | None
    num_classes: Positive | None
    target_classes: list[int | str] | None
    samples_per_class: Positive | None
    scores: str | None
    score: str | None
    percentile: list[float] | None

    @model_validator(mode="after")
    def _one_source(self) -> RealParams:
        if self.npz_dir is not None and self.imagenet_dir is not None:
            raise ValueError(
                "npz_dir and imagenet_dir are both given; the real images come from one source: set one to null"
            )
        if self.percentile is not None and len(self.percentile) != 2:
            raise ValueError(f"percentile has {len(self.percentile)} values; give two, such as [0, 25]")
        given = [name for name in ("scores", "score", "percentile") if getattr(self, name) is not None]
        if given and len(given) < 3:
            raise ValueError(
                f"{', '.join(given)} given alone; scores (a file), score (its column) and percentile go together"
            )
        return self

    @property
    def kind(self) -> str:
        """The kind of source, as `images.open_images` calls it."""
        return "imagenet-npz" if self.npz_dir is not None else "folder" if self.imagenet_dir is not None else "digits"


class GenerateParams(_Section):
    num_samples: Positive | None
    labels: Literal["real", "balanced"]
    batch_size: Positive
    shard_rows: Positive
    precision: Precision


class GeneratorParams(_Section):
    checkpoint: str
    family: Family
    sampler: Literal["one-step", "few-step", "heun", "euler"]
    steps: Positive
    noise: Literal["fresh", "fixed", "none"]
    guidance: Annotated[float, Field(ge=0)] | None
    conditioning_sigma: Sigma
    mask_layers: list[str]
    masks: Literal["stored", "recomputed"]


class PreprocessingParams(_Section):
    """What a TorchScript feature network expects of its input."""

    resolution: Positive | None
    resize: Literal["bilinear", "bicubic"]
    low: float
    high: float
    mean: Annotated[list[float], Field(min_length=1)] | None
    std: Annotated[list[Sigma], Field(min_length=1)] | None


class ViewParams(_Section):
    network: str
    family: Literal["edm", "pixels", "torchscript"]
    preprocessing: PreprocessingParams | None
    layers: Annotated[list[str], Field(min_length=1)]
    protocol: Literal["noised", "scaled", "sampling", "clean"]
    real_protocol: Literal["noised", "scaled"] | None
    sigma: Sigma | Annotated[list[Sigma], Field(min_length=1)] | None
    keep: Literal["full", "mean", "pca"]

    @model_validator(mode="after")
    def _looked_at_as_the_family_can(self) -> ViewParams:
        clean = self.family != "edm"
        if clean != (self.protocol == "clean") or clean != (self.sigma is None):
            raise ValueError(
                f"family {self.family}, protocol {self.protocol}, sigma {self.sigma}: pixels and torchscript look at clean "
                "images (protocol: clean, sigma: null), edm networks at noised ones (another protocol, and a noise level)"
            )
        if (self.family == "torchscript") != (self.preprocessing is not None):
            raise ValueError(
                f"family {self.family}, preprocessing {'given' if self.preprocessing else 'null'}: a torchscript network "
                "needs its preprocessing stated, the others have none"
            )
        return self

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels; none where images are looked at clean."""
        if self.sigma is None:
            return ()
        return tuple(self.sigma) if isinstance(self.sigma, list) else (self.sigma,)


class BasisParams(_Section):
    components: Positive
    rows: Annotated[int, Field(ge=2)]


class CaptureParams(_Section):
    batch_size: Positive
    shard_rows: Positive
    dtype: Literal["float32", "float16"]
    precision: Precision
    reconstructions: bool
    track: Literal["shards", "manifest"]
    basis: BasisParams


class ReducerParams(_Section):
    fit_on: str
    pca: Positive | None
    n_neighbors: Annotated[int, Field(ge=2)]
    min_dist: Annotated[float, Field(ge=0, le=1)]
    n_components: Literal[2, 3]
    metric: Literal["euclidean", "cosine"]
    views: dict[Name, dict[str, Any]]

    @model_validator(mode="after")
    def _changes_that_can_be(self) -> ReducerParams:
        for name in self.views:
            try:
                self.of(name)
            except ValidationError as error:
                first = error.errors()[0]
                what = ".".join(map(str, first["loc"]))
                raise ValueError(f"views.{name}.{what} is {first['input']!r}: {first['msg'].lower()}") from error
        return self

    def of(self, view: str) -> ReducerParams:
        """With what differs for a view."""
        return ReducerParams.model_validate(self.model_dump() | {"views": {}} | self.views.get(view, {}))


class MetricsParams(_Section):
    k: Positive
    curve: Annotated[list[Positive], Field(min_length=1)]
    gap_rate: Rate
    held_out_splits: Annotated[int, Field(ge=2)]
    memory: Annotated[int, Field(ge=16)]


class InversionParams(_Section):
    generators: list[Name]
    images: Positive | None
    calibration: Positive
    starts: Positive
    steps: Positive
    enough: Sigma
    batch_size: Positive
    shard_rows: Positive


class ReachParams(_Section):
    generators: list[Name]
    layers: Annotated[list[str], Field(min_length=1)]
    gaps: Positive
    images: Positive
    ways: Annotated[list[Literal["mask", "inversion", "guided"]], Field(min_length=1)]


class TrackingParams(_Section):
    experiment: Annotated[str, Field(min_length=1)]
    models: bool


class NetworkParams(_Section):
    model_channels: Positive
    channel_mult: Annotated[list[Positive], Field(min_length=1)]
    channel_mult_emb: Positive
    num_blocks: Positive
    attn_resolutions: list[Positive]


class TeacherParams(_Section):
    steps: Positive
    batch_size: Positive
    lr: Sigma
    ema: Rate


class DistillationParams(_Section):
    steps: Positive
    save_every: Positive
    early_step: Positive
    batch_size: Positive
    lr: Sigma
    settle: Rate
    ema: Rate
    generator_every: Positive
    gan_head_weight: Weight
    gan_weight: Weight


class TrainingParams(_Section):
    threads: Positive
    network: NetworkParams
    teacher: TeacherParams
    distillation: DistillationParams


class Params(_Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    runtime: RuntimeParams
    real: RealParams
    generate: GenerateParams
    generators: Annotated[dict[Name, GeneratorParams], Field(min_length=1)]
    views: Annotated[dict[Name, ViewParams], Field(min_length=1)]
    capture: CaptureParams
    reducer: ReducerParams
    metrics: MetricsParams
    inversion: InversionParams
    reach: ReachParams
    tracking: TrackingParams
    training: TrainingParams

    @model_validator(mode="after")
    def _names_that_exist(self) -> Params:
        for section, names in (("inversion", self.inversion.generators), ("reach", self.reach.generators)):
            for name in names:
                if name not in self.generators:
                    raise ValueError(f"{section}.generators names {name!r}; known: {', '.join(self.generators)}")
        for name in self.reducer.views:
            self.view(name)
            if "fit_on" in self.reducer.views[name]:
                raise ValueError(f"reducer.views.{name}.fit_on differs; all views share reducer.fit_on: set it there")
        if self.reducer.fit_on not in ("real", "both", *self.generators):
            raise ValueError(
                f"reducer.fit_on is {self.reducer.fit_on!r}; give real, both, or one of: {', '.join(self.generators)}"
            )
        if taken := {"real", "both"} & self.generators.keys():
            raise ValueError(
                f"a generator is called {min(taken)!r}, which names a side of every view: choose another name"
            )
        if "inversion" in self.views:
            raise ValueError(
                "a view is called 'inversion'; metrics/inversion holds the inversions: choose another name"
            )
        return self

    def generator(self, name: str) -> GeneratorParams:
        return _named(self.generators, name, "generator")

    def view(self, name: str) -> ViewParams:
        return _named(self.views, name, "view")


def _named(known: dict[str, T], name: str, what: str) -> T:
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"nearest: {nearest[0]!r}; " if nearest else ""
        raise ParamsError(f"{what} {name!r} is not in params.yaml; {hint}known: {', '.join(known)}")
    return known[name]


def _explain(path: Path, error: ValidationError) -> str:
    problems = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"] if part != "[key]")
        if item["type"] == "extra_forbidden":
            problems.append(f"`{where}` is no parameter (a typing mistake?)")
        elif item["type"] == "missing":
            problems.append(f"`{where}` is missing")
        elif item["type"] == "value_error":
            problems.append(f"`{where}`: {item['msg'].removeprefix('Value error, ')}")
        else:
            problems.append(f"`{where}` is {item['input']!r}: {item['msg'].lower()}")
    return f"{path} cannot be used: {'; '.join(problems)}. README.md says what each parameter means; nothing was run"


def load(path: Path = Path("params.yaml")) -> Params:
    """params.yaml => Params. Raises ParamsError naming every wrong key, its value and the rule."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"{path} is missing; run this in the repository root") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is no valid YAML: {error}") from error
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise ParamsError(_explain(path, error)) from error
