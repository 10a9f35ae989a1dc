"""How a map was made, and whose features belong on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modescope.layout import check_metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a map was made. `pca` None: of the standardised features themselves."""

    pca: int | None
    n_neighbors: int
    min_dist: float
    n_components: int
    seed: int
    metric: str

    def __post_init__(self) -> None:
        check_metric(self.metric)
        if self.n_neighbors < 2:
            raise ValueError(f"n_neighbors is {self.n_neighbors}; a neighbourhood has at least 2 rows: give 2 or more")
        if self.n_components not in (2, 3):
            raise ValueError(f"n_components is {self.n_components}; a map has two or three dimensions: give 2 or 3")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; give a whole number from 0 to 2^32 - 1")
        if not 0.0 <= self.min_dist <= 1.0:
            raise ValueError(f"min_dist is {self.min_dist}; give a map distance from 0 to 1")


def check_layers(fitted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> None:
    """Raise a ValueError where features of `given` layers (name => shape, in order) do not belong on a map of `fitted`."""
    ours, theirs = ([(name, tuple(shape)) for name, shape in layers.items()] for layers in (fitted, given))
    if ours and ours != theirs:
        raise ValueError(
            f"the features are of layers {_listed(theirs)}, this map was fitted on {_listed(ours)}; "
            "capture the same layers, or fit the map again (`dvc repro`)"
        )


def check_network(fitted: str | None, given: str | None) -> None:
    """Raise a ValueError where both hashes are known and differ."""
    if fitted and given and fitted != given:
        raise ValueError(
            f"the features come from network {given[:12]}, this map was fitted on those of {fitted[:12]}; "
            "capture with the same network, or fit the map again (`dvc repro`)"
        )


def _listed(layers: list[tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in layers)
