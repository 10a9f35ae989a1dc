"""Aiming at missing regions: when an image counts, when a region is reached, what the ways share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.stats import fisher_exact

from modescope import masking, params, reaching, seeds, store
from modescope.making import Opened
from modescope.reaching import Attempts, Neighbourhood, Region, aims_at, is_reached
from modescope.reaching.regions import chance
from tests.dashboards.conftest import project_root  # noqa: F401 - a fixture


class Points(Opened):
    """Real samples that are points, in place of activations; they come in blocks of three."""

    def __init__(self, points: np.ndarray) -> None:
        super().__init__(Path(), params.load())
        self.points, self.ids = points.astype(np.float32), tuple(f"real/{i}" for i in range(len(points)))

    def activations(self, view: str, source: str) -> SimpleNamespace:  # type: ignore[override]
        return SimpleNamespace(ids=self.ids)

    def features(self, view: str, ids: list[str]) -> np.ndarray:  # type: ignore[override]
        return self.points[[self.ids.index(name) for name in ids]]

    def feature_blocks(self, view: str, source: str) -> Iterator[np.ndarray]:
        yield from (self.points[i : i + 3] for i in range(0, len(self.points), 3))


def around(points: np.ndarray, region: np.ndarray, k: int = 1) -> Neighbourhood:
    radius = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, k]
    opened = Points(points)
    table = pd.DataFrame({"sample_id": opened.ids, "gap": region, "radius": radius}).sample(frac=1, random_state=0)
    return reaching.neighbourhood(opened, "default", table.reset_index(drop=True))


def test_an_image_counts_when_its_nearest_real_sample_is_of_the_region_and_its_ball_holds_it() -> None:
    line = np.array([[0.0], [1.0], [2.0], [10.0], [12.0]])
    place = around(line, np.array([0, 0, -1, 1, -1]))
    row, region, inside = place.landed(np.array([[0.4], [-3.0], [1.9], [10.5], [12.5]], np.float32))
    assert row.tolist() == [0, 0, 2, 3, 4]
    assert region.tolist() == [0, 0, -1, 1, -1]
    assert inside.tolist() == [True, False, True, True, True]


def test_real_samples_held_out_count_as_brute_force_without_them_says() -> None:
    rng = np.random.default_rng(0)
    points, k = rng.normal(size=(40, 3)).astype(np.float32), 4
    region = rng.integers(-1, 2, 40)
    place = around(points, region, k)
    where, inside = place.held_out(place.opened.ids)
    for i in range(40):
        others = np.delete(np.arange(40), i)
        distance = np.linalg.norm(points[others] - points[i], axis=1)
        nearest = others[distance.argmin()]
        rest = np.delete(points, [i, nearest], axis=0)
        radius = np.sort(np.linalg.norm(rest - points[nearest], axis=1))[k - 1]
        assert where[i] == region[nearest]
        assert inside[i] == (distance.min() <= radius)


def test_the_share_of_real_ones_is_over_the_members_alone() -> None:
    line = np.array([[0.0], [1.0], [2.0], [10.0], [10.5]])
    place = around(line, np.array([0, 0, -1, 1, -1]), k=2)
    assert reaching.real_share(place, Region(rank=0, centre="real/0", ids=("real/0", "real/1")), 0) == 1.0
    assert reaching.real_share(place, Region(rank=1, centre="real/3", ids=("real/3",)), 0) == 0.0


@pytest.mark.parametrize(
    ("inside", "free", "real", "reached"),
    [
        (8, 0, 1.0, True),
        (4, 0, 1.0, True),  # half of what real ones score, and p = .038 against none
        (3, 0, 0.1, False),  # p = .1
        (4, 0, 0.0, True),
        (4, 2, 0.5, False),
        (8, 4, 0.9, True),  # p = .038
        (0, 0, 0.0, False),
    ],
)
def test_a_region_is_reached_by_half_of_what_real_ones_score_and_significantly_more_than_without_aim(
    inside: int, free: int, real: float, reached: bool
) -> None:
    assert is_reached(inside, free, 8, real) is reached


@pytest.mark.parametrize(("inside", "free", "images"), [(0, 0, 5), (3, 1, 8), (8, 0, 8), (1, 7, 8), (40, 31, 100)])
def test_the_chance_agrees_with_scipy(inside: int, free: int, images: int) -> None:
    table = [[inside, images - inside], [free, images - free]]
    assert chance(inside, free, images) == pytest.approx(fisher_exact(table, alternative="greater").pvalue, rel=1e-9)


def test_many_images_below_half_of_the_real_share_do_not_reach_a_region() -> None:
    assert not is_reached(30, 0, 100, 0.7)
    assert is_reached(36, 0, 100, 0.7)


def test_regions_come_from_both_tables_largest_first() -> None:
    scores = pd.DataFrame({"sample_id": ["real/0", "real/1", "real/2", "fake/g/0"], "gap": [1, 0, 0, np.nan]})
    gaps = pd.DataFrame({"rank": [0, 1], "centre": ["real/2", "real/0"]})
    first, second = reaching.regions_of(scores, gaps, 5)
    assert (first.ids, first.centre, second.ids) == (("real/1", "real/2"), "real/2", ("real/0",))
    assert reaching.regions_of(scores, gaps, 1) == (first,)
    assert reaching.regions_of(scores, gaps.head(0), 5) == ()
    with pytest.raises(ValueError, match="gap 0 has its centre at real/0 and the scores"):
        reaching.regions_of(scores, gaps.assign(centre=["real/0", "real/0"]), 5)


@pytest.fixture(scope="module")
def opened(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:  # noqa: F811
    root = tmp_path_factory.mktemp("reaching") / "project"
    shutil.copytree(project_root, root, ignore=shutil.ignore_patterns("made"))
    raw = yaml.safe_load((root / "params.yaml").read_text())
    raw["inversion"] |= {"steps": 4, "batch_size": 4}
    (root / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return Opened(root, params.load(root / "params.yaml"))


REGIONS = (
    Region(rank=0, centre="real/3", ids=("real/3", "real/13", "real/23", "real/4")),
    Region(rank=1, centre="real/7", ids=("real/7",)),
)


@pytest.fixture(scope="module")
def made(opened: Opened) -> dict:
    aims = aims_at(opened, "default", "student", REGIONS, 3)
    attempts = Attempts(opened=opened, view="default", generator="student", aims=aims, ways=reaching.WAYS)
    assert len(attempts) == 4
    return {"aims": aims, **{batch.way: batch for batch in attempts}}


def test_aims_begin_at_the_centre_and_repeat_only_when_members_run_out(opened: Opened, made: dict) -> None:
    aims = made["aims"]
    assert aims.region.tolist() == [0, 0, 0, 1, 1, 1]
    assert aims.targets[0] == "real/3"
    assert len(set(aims.targets[:3])) == 3
    assert aims.targets[3:] == ("real/7",) * 3
    assert aims.turn.tolist() == [0, 0, 0, 0, 1, 2]
    assert aims.labels.tolist() == opened.labels(aims.targets).tolist()
    assert set(aims.members[0]) == set(REGIONS[0].ids)
    np.testing.assert_allclose(aims.features[0], opened.features("default", REGIONS[0].ids).mean(0), rtol=1e-5)


def test_free_is_class_and_seed_alone_and_the_mask_holds_the_stand_ins_mean(opened: Opened, made: dict) -> None:
    aims, generator = made["aims"], opened.generator("student")
    noise = seeds.normal(opened.params.seed, "reach", aims.ids, generator.latent_shape)
    np.testing.assert_array_equal(made["free"].noise, noise)
    np.testing.assert_array_equal(made["mask"].noise, noise)
    images = opened.images("student")
    ids = opened.stand_ins("default", "student", aims.members[0])
    values = images.take(images.rows_of(ids), "encoder_bottleneck").mean(0, keepdims=True)
    path = generator.layers["encoder_bottleneck"]
    mask = masking.mean_mask({path: values}, ["mean"], source="nearest", sigma=generator.sigma_max)
    alone = masking.generate(generator, torch.from_numpy(noise[:1]), aims.labels[:1], mask).pixels[0]
    assert np.abs(alone.astype(int) - made["mask"].pixels[0].astype(int)).max() <= 1
    assert (made["mask"].pixels != made["free"].pixels).mean() > 0.1


def test_noise_that_is_looked_for_comes_nearer_than_none(opened: Opened, made: dict) -> None:
    aims = made["aims"]
    target = opened.pixels(aims.targets).astype(float)

    def pixel_error(way: str) -> float:
        return float(np.square(made[way].pixels - target).mean())

    def feature_error(way: str) -> float:
        features, _ = opened.captured("default", list(aims.ids), made[way].pixels, aims.labels)
        return float(np.linalg.norm(features - aims.features, axis=1).mean())

    assert pixel_error("inversion") < pixel_error("free")
    assert feature_error("guided") < feature_error("free")


def test_images_of_one_target_differ(made: dict) -> None:
    for way in reaching.WAYS:
        assert len({image.tobytes() for image in made[way].noise[3:]}) == 3


def test_everything_is_seeded(opened: Opened, made: dict) -> None:
    aims = aims_at(opened, "default", "student", REGIONS, 3)
    again = Attempts(opened=opened, view="default", generator="student", aims=aims, ways=("inversion", "guided"))
    for batch in again:
        np.testing.assert_array_equal(batch.pixels, made[batch.way].pixels)


def test_an_unknown_way_is_refused(opened: Opened, made: dict) -> None:
    with pytest.raises(ValueError, match="way 'prayer' is unknown"):
        Attempts(opened=opened, view="default", generator="student", aims=made["aims"], ways=("prayer",))


def test_verdicts_count_per_region_and_way(opened: Opened, made: dict) -> None:
    ids = store.open_activations(opened.root / "data/activations/default/real").ids
    gap = [next((r.rank for r in REGIONS if name in r.ids), -1) for name in ids]
    scores = pd.DataFrame({"sample_id": ids, "gap": gap, "radius": np.full(len(ids), 1e9)})
    place = reaching.neighbourhood(opened, "default", scores)
    tables = [reaching.looked_at(opened, "default", made["aims"], made[way], place) for way in reaching.WAYS]
    looked = reaching.counted(pd.concat(tables, ignore_index=True), REGIONS)
    near = looked["nearest_real"].map(dict(zip(ids, gap, strict=True)))
    assert (looked["inside"] == (near == looked["rank"])).all()
    verdicts = reaching.verdicts(looked, REGIONS, {0: "3: 3; 4: 1", 1: "7: 1"}, place, 0)
    assert tuple(verdicts.columns) == reaching.COLUMNS
    assert len(verdicts) == 8
    assert (verdicts[verdicts["way"] == "free"]["distance"] == 1).all()
    assert not verdicts[verdicts["way"] == "free"]["reached"].any()
    counts = looked.groupby(["rank", "way"])["inside"].sum()
    for line in verdicts.itertuples():
        assert line.inside == counts[line.rank, line.way]
        assert line.share == line.inside / 3
    found = reaching.summary(verdicts, reaching.WAYS)
    assert found["aimed"] == 2
    assert set(found["reached_by"]) == {"mask", "inversion", "guided"}
