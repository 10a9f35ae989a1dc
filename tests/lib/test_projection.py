"""The map: fit, place, bring back, save, load."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from modescope import store
from modescope.files import DamagedFileError
from modescope.projection import Reducer, RoundTrip, aligned, drift, judged, movement, round_trip
from modescope.quality import continuity, trustworthiness

PIXELS, CLASSES = load_digits(return_X_y=True)
ORDER = np.random.default_rng(0).permutation(len(PIXELS))  # the file is sorted by writer
ROWS, NEW = PIXELS[ORDER[:500]].astype(np.float32), PIXELS[ORDER[500:600]].astype(np.float32)


@pytest.fixture(scope="module")
def reducer() -> Reducer:
    return Reducer.fit(ROWS, pca=20, seed=3)


@pytest.fixture
def folder(reducer: Reducer, tmp_path: Path) -> Path:
    reducer.save(tmp_path / "reducer")
    return tmp_path / "reducer"


def small(**settings: object) -> Reducer:
    return Reducer.fit(ROWS[:80], **({"pca": 5, "n_neighbors": 5} | settings))


def test_the_map_keeps_neighbours_and_classes_together(reducer: Reducer) -> None:
    assert reducer.embedding.shape == (500, 2)
    assert reducer.embedding.dtype == np.float32
    assert trustworthiness(reducer.scores, reducer.embedding) > 0.93
    assert continuity(reducer.scores, reducer.embedding) > 0.93
    # A new digit's nearest rows on the map are of its class far more often than by chance (0.1).
    chosen, _ = reducer.neighbours(reducer.transform(NEW), 5)
    assert (CLASSES[ORDER[chosen]] == CLASSES[ORDER[500:600], None]).mean() > 0.8


def test_the_same_seed_gives_the_same_map_and_another_seed_another() -> None:
    one, same, other = small(seed=1), small(seed=1), small(seed=2)
    np.testing.assert_array_equal(one.embedding, same.embedding)
    np.testing.assert_array_equal(one.transform(NEW), same.transform(NEW))
    assert not np.array_equal(one.embedding, other.embedding)


def test_a_row_is_placed_the_same_alone_and_in_any_batch(reducer: Reducer) -> None:
    together = reducer.transform(NEW)
    alone = np.concatenate([reducer.transform(row[None]) for row in NEW])
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(reducer.transform(NEW[::-1])[::-1], together)


def test_training_rows_come_back_at_their_own_places(reducer: Reducer) -> None:
    np.testing.assert_array_equal(reducer.transform(ROWS), reducer.embedding)
    assert (reducer.transform(NEW)[:, None] != reducer.embedding).any(2).all()


def test_no_rows_give_no_places(reducer: Reducer) -> None:
    assert reducer.transform(NEW[:0]).shape == (0, 2)


def test_a_read_only_float16_map_fits(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", ROWS[:80].astype(np.float16))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    fitted = Reducer.fit(mapped, pca=5, n_neighbors=5)
    np.testing.assert_array_equal(fitted.embedding, small().embedding)  # digits are whole numbers
    np.testing.assert_array_equal(fitted.transform(mapped), fitted.embedding)


@pytest.mark.parametrize("settings", [{"pca": None}, {"metric": "cosine"}, {"n_components": 3}])
def test_other_settings_fit_place_and_bring_back(settings: dict) -> None:
    fitted = small(**settings)
    points = fitted.transform(NEW[:7])
    assert points.shape == (7, settings.get("n_components", 2))
    assert np.isfinite(points).all()
    for method in ("neighbours", "barycentric"):
        assert fitted.inverse_transform(points, method).shape == (7, 64)


def test_a_map_of_three_dimensions_places_brings_back_judges_and_is_kept(tmp_path: Path) -> None:
    fitted = judged(Reducer.fit(ROWS[:200], pca=10, n_components=3), ROWS[:200], rows=40)
    assert set(fitted.evidence) == {"neighbours", "barycentric"}
    np.testing.assert_array_equal(fitted.transform(ROWS[:20]), fitted.embedding[:20])
    inside = fitted.embedding[:50].mean(0, keepdims=True)
    indices, weights = fitted.corners(inside)
    assert indices.shape == (1, 4)
    np.testing.assert_allclose(weights @ fitted.embedding[indices[0]], inside, rtol=1e-4)
    assert fitted.extrapolates(fitted.embedding.max(0)[None] + 5).all()
    assert trustworthiness(fitted.scores, fitted.embedding) > 0.93
    grown, _ = fitted.grow(NEW)
    grown.save(tmp_path / "reducer")
    np.testing.assert_array_equal(Reducer.load(tmp_path / "reducer").transform(NEW), grown.embedding[200:])
    ids = [f"real/{i}" for i in range(200)]
    store.write_map(tmp_path / "real.parquet", ids, fitted.embedding)
    np.testing.assert_array_equal(store.read_map(tmp_path / "real.parquet", ids[::-1]), fitted.embedding[::-1])


def test_a_new_process_loads_the_map_without_umap_and_places_rows_at_the_same_bits(
    reducer: Reducer, folder: Path
) -> None:
    np.save(folder / "new.npy", NEW)
    code = (
        "import sys, numpy as np\nfrom modescope.projection import Reducer\n"
        "r = Reducer.load(sys.argv[1])\nassert not {'umap', 'numba'} & sys.modules.keys()\n"
        "np.save(sys.argv[1] + '/places.npy', r.transform(np.load(sys.argv[1] + '/new.npy')))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    np.testing.assert_array_equal(np.load(folder / "places.npy"), reducer.transform(NEW))


def test_a_loaded_map_is_the_saved_one(reducer: Reducer, folder: Path) -> None:
    loaded = Reducer.load(folder)
    assert loaded.settings == reducer.settings
    assert loaded.versions == reducer.versions
    np.testing.assert_array_equal(loaded.embedding, reducer.embedding)
    points = reducer.transform(NEW[:5])
    for method in ("neighbours", "barycentric", "umap"):
        np.testing.assert_array_equal(
            loaded.inverse_transform(points, method), reducer.inverse_transform(points, method)
        )
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


def test_a_map_without_pca_is_saved_too(tmp_path: Path) -> None:
    fitted = small(pca=None)
    fitted.save(tmp_path)
    np.testing.assert_array_equal(Reducer.load(tmp_path).transform(NEW), fitted.transform(NEW))


def test_a_map_of_other_library_versions_loads_with_a_warning(
    folder: Path, reducer: Reducer, caplog: pytest.LogCaptureFixture
) -> None:
    record = json.loads((folder / "reducer.json").read_text())
    record["versions"]["numba"] = "0.4.0"
    (folder / "reducer.json").write_text(json.dumps(record))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(Reducer.load(folder).transform(NEW), reducer.transform(NEW))
    assert "numba 0.4.0 (here" in caplog.text
    assert "fit it again" in caplog.text


def test_a_map_of_another_format_says_what_to_do(folder: Path) -> None:
    (folder / "reducer.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match=r"format 99, this modescope reads format 1; fit the map again"):
        Reducer.load(folder)


def test_missing_and_damaged_files_are_named(folder: Path) -> None:
    arrays = folder / "reducer.safetensors"
    intact = arrays.read_bytes()
    arrays.write_bytes(intact[: len(intact) // 2])
    with pytest.raises(DamagedFileError, match=r"reducer\.safetensors cannot be read"):
        Reducer.load(folder)
    arrays.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    with pytest.raises(DamagedFileError, match=r"does not have the checksum that reducer\.json names"):
        Reducer.load(folder)
    arrays.unlink()
    with pytest.raises(DamagedFileError, match=r"reducer\.safetensors is missing"):
        Reducer.load(folder)
    (folder / "reducer.json").unlink()
    with pytest.raises(DamagedFileError, match=r"reducer\.json is missing"):
        Reducer.load(folder)
    (folder / "reducer.json").write_text('{"format": 1}')
    with pytest.raises(DamagedFileError, match="lacks 'curve', 'settings', 'sha256', 'versions'"):
        Reducer.load(folder)


def test_neighbours_of_a_training_place_begin_with_that_row(reducer: Reducer) -> None:
    indices, weights = reducer.neighbours(reducer.embedding[:20], 4)
    assert indices[:, 0].tolist() == list(range(20))
    np.testing.assert_allclose(weights[:, 0], 1, atol=1e-5)
    indices, weights = reducer.neighbours(reducer.transform(NEW), 6)
    exact = np.linalg.norm(reducer.embedding.astype(np.float64) - reducer.transform(NEW)[:, None], axis=2)
    np.testing.assert_array_equal(indices, exact.argsort(1)[:, :6])
    nearness = 1 / np.sort(exact, 1)[:, :6]
    np.testing.assert_allclose(weights, nearness / nearness.sum(1, keepdims=True), rtol=1e-6)


def test_corners_rebuild_the_point_inside_the_hull_and_fall_back_to_the_nearest_outside(reducer: Reducer) -> None:
    inside = reducer.embedding[:50].mean(0, keepdims=True)
    indices, weights = reducer.corners(inside)
    np.testing.assert_allclose(weights @ reducer.embedding[indices[0]], inside, rtol=1e-4)
    assert weights.min() >= -1e-9
    far = np.full((1, 2), 1e3, np.float32)
    indices, _ = reducer.corners(far)
    assert set(indices[0].tolist()) == {int(np.linalg.norm(reducer.embedding - far, axis=1).argmin())}


def test_training_places_bring_their_rows_back(reducer: Reducer) -> None:
    for method in ("neighbours", "barycentric"):
        given = reducer.inverse_transform(reducer.embedding[:30], method, features=ROWS)
        np.testing.assert_allclose(given, ROWS[:30], atol=0.05)
        rebuilt = reducer.inverse_transform(reducer.embedding[:30], method)
        np.testing.assert_allclose(rebuilt, reducer.components.rebuild(reducer.scores[:30]), atol=0.05)


def test_the_default_inverse_errs_least_on_rows_that_the_map_has_not_seen(reducer: Reducer) -> None:
    errors = {method: round_trip(reducer, NEW, method) for method in ("neighbours", "barycentric", "umap")}
    assert errors["neighbours"].features == min(error.features for error in errors.values())
    assert errors["neighbours"].features < 0.75
    assert errors["neighbours"].place < 0.1 < 1
    assert errors["neighbours"].place < errors["umap"].place


def test_points_off_the_data_are_flagged(reducer: Reducer) -> None:
    low, high = reducer.embedding.min(0), reducer.embedding.max(0)
    off = np.stack([low - 5, high + 5])
    assert reducer.extrapolates(off).all()
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 40).T), -1).reshape(-1, 2).astype(np.float32)
    gap = np.linalg.norm(grid[:, None] - reducer.embedding, axis=2).min(1).argmax()
    assert reducer.extrapolates(grid[gap : gap + 1]).all()  # the widest hole between clusters
    assert reducer.extrapolates(reducer.embedding).mean() < 0.05
    assert reducer.extrapolates(reducer.transform(NEW)).mean() < 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "hamming"}, "metric 'hamming' is unknown; use 'euclidean' or 'cosine'"),
        ({"n_neighbors": 1}, "n_neighbors is 1; a neighbourhood has at least 2 rows"),
        ({"n_neighbors": 80}, r"features has shape \(80, 64\), n_neighbors is 80; .* lower n_neighbors"),
        ({"n_components": 1}, "n_components is 1; a map has two or three dimensions"),
        ({"min_dist": -0.1}, "min_dist is -0.1; give a map distance from 0 to 1"),
        ({"seed": -1}, "seed is -1; give a whole number"),
        ({"pca": 65}, "pca is 65, but 80 rows of 64 columns have at most 64 components"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**settings)


def test_features_that_do_not_fit_are_refused(reducer: Reducer) -> None:
    with pytest.raises(ValueError, match=r"shape \(100, 63\), this map was fitted on 64 columns"):
        reducer.transform(NEW[:, 1:])
    broken = NEW.copy()
    broken[41, 5] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite values in row 41"):
        reducer.transform(broken)
    with pytest.raises(ValueError, match="NaN or infinite values in row 41"):
        Reducer.fit(broken)


def test_questions_that_do_not_fit_are_refused(reducer: Reducer) -> None:
    points = reducer.embedding[:2]
    with pytest.raises(ValueError, match=r"points has shape \(2, 3\); give finite map coordinates \(M, 2\)"):
        reducer.inverse_transform(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="finite map coordinates"):
        reducer.extrapolates(np.full((1, 2), np.nan, np.float32))
    with pytest.raises(ValueError, match="k is 501, the map has 500 rows"):
        reducer.neighbours(points, 501)
    with pytest.raises(ValueError, match=r"quantile is 0\.0; give a share"):
        reducer.extrapolates(points, quantile=0.0)
    with pytest.raises(ValueError, match=r"features has shape \(100, 64\), this map was fitted on 500 rows"):
        reducer.inverse_transform(points, features=NEW)


def test_evidence_is_measured_without_the_rows_that_are_asked_and_chooses_the_inverse(
    reducer: Reducer, tmp_path: Path
) -> None:
    known = judged(reducer, ROWS, rows=60)
    assert set(known.evidence) == {"neighbours", "barycentric"}
    assert known.inverse == min(known.evidence, key=lambda method: known.evidence[method].features)
    # A row that stayed on the map would come back as itself, but for what PCA leaves out.
    assert known.evidence["neighbours"].features > 1.2 * round_trip(reducer, ROWS[:60]).features
    known.save(tmp_path)
    assert Reducer.load(tmp_path).evidence == known.evidence
    other = replace(
        known,
        evidence={"neighbours": RoundTrip(features=2.0, place=0.0)}
        | {"barycentric": RoundTrip(features=1.0, place=0.0)},
    )
    points = reducer.transform(NEW[:3])
    assert other.inverse == "barycentric"
    np.testing.assert_array_equal(other.inverse_transform(points), reducer.inverse_transform(points, "barycentric"))


def test_evidence_needs_the_own_rows_and_some_to_spare(reducer: Reducer) -> None:
    with pytest.raises(ValueError, match=r"shape \(100, 64\), this map was fitted on 500 rows"):
        judged(reducer, NEW)
    tight = Reducer.fit(ROWS[:6], pca=2, n_neighbors=5)
    with pytest.raises(ValueError, match="6 rows and 5 neighbours; none can be left out"):
        judged(tight, ROWS[:6])


def test_a_map_grows_at_its_end_and_no_row_moves(reducer: Reducer, tmp_path: Path) -> None:
    grown, drifted = reducer.grow(NEW, "later")
    assert grown.parts == {"fitted": 500, "later": 100}
    np.testing.assert_array_equal(grown.embedding[grown.rows("fitted")], reducer.embedding)
    np.testing.assert_array_equal(grown.embedding[grown.rows("later")], reducer.transform(NEW))
    np.testing.assert_array_equal(grown.transform(NEW), grown.embedding[500:])
    assert drifted.rows == 100
    grown.save(tmp_path)
    loaded = Reducer.load(tmp_path)
    assert loaded.parts == grown.parts
    np.testing.assert_array_equal(loaded.layout.sigmas, grown.layout.sigmas)
    with pytest.raises(ValueError, match="part 'later' is on this map already"):
        loaded.grow(NEW, "later")
    with pytest.raises(ValueError, match="part 'fake' is not in this map; it holds fitted, later"):
        loaded.rows("fake")


def test_rows_unlike_any_fitted_one_are_told_from_rows_of_the_same_law(
    reducer: Reducer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        reducer.grow(ROWS[::5] * np.float32(1.02), "alike")
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        far = reducer.grow(16 - NEW, "inverted")[1]
    assert "100 new rows have drifted" in caplog.text
    assert far.p < 1e-6
    assert far.distance > far.usual


def test_p_values_of_drift_are_not_small_under_no_drift() -> None:
    draw = np.random.default_rng(0)
    small_ones = 0
    for _ in range(200):
        rows = draw.standard_normal((90, 3)).astype(np.float32)
        small_ones += drift(rows[:60], rows[60:]).p < 0.05
    assert small_ones <= 24  # 200 times 0.05, and 4.5 deviations
    with pytest.raises(ValueError, match="there are 0 new rows and 60 fitted ones"):
        drift(rows[:60], rows[:0])


def test_a_map_fitted_on_two_sides_knows_whose_rows_are_whose() -> None:
    fitted = Reducer.fit({"real": ROWS[:80], "fake": NEW[:40]}, pca=5, n_neighbors=5)
    assert fitted.parts == {"real": 80, "fake": 40}
    assert [fitted.whose(row) for row in (0, 79, 80, 119)] == [("real", 0), ("real", 79), ("fake", 0), ("fake", 39)]
    with pytest.raises(ValueError, match="row is 120, the parts of this map hold 120"):
        fitted.whose(120)
    whole = Reducer.fit(np.concatenate([ROWS[:80], NEW[:40]]), pca=5, n_neighbors=5)
    np.testing.assert_array_equal(fitted.embedding, whole.embedding)
    np.testing.assert_array_equal(fitted.embedding[fitted.rows("fake")], fitted.transform(NEW[:40]))


def test_features_of_other_layers_or_of_another_network_are_refused(tmp_path: Path) -> None:
    fitted = small(columns={"enc": (2, 4, 4), "mid": (32,)}, network="a" * 64)
    fitted.save(tmp_path)
    loaded = Reducer.load(tmp_path)
    loaded.check_source({"enc": (2, 4, 4), "mid": (32,)}, "a" * 64)
    with pytest.raises(ValueError, match="are of layers mid 32, enc 2x4x4, this map was fitted on enc 2x4x4, mid 32"):
        loaded.check_source({"mid": (32,), "enc": (2, 4, 4)})
    with pytest.raises(ValueError, match="come from network bbb"):
        loaded.check_source({"enc": (2, 4, 4), "mid": (32,)}, "b" * 64)
    with pytest.raises(ValueError, match="columns names layers of 63 values in all, a row has 64"):
        small(columns={"enc": (63,)})
    with pytest.raises(ValueError, match="parts has 79 rows, the map has 80"):
        replace(fitted, parts={"real": 79})


def test_a_map_saved_before_parts_and_evidence_were_kept_still_loads(folder: Path, reducer: Reducer) -> None:
    record = json.loads((folder / "reducer.json").read_text())
    for name in ("parts", "columns", "network", "evidence"):
        del record[name]
    (folder / "reducer.json").write_text(json.dumps(record))
    loaded = Reducer.load(folder)
    assert loaded.inverse == "neighbours"
    assert loaded.grow(NEW[:5])[0].parts == {"fitted": 500, "added": 5}
    loaded.check_source({"any": (64,)}, "any")


def test_aligned_maps_keep_samples_in_place_where_independent_ones_do_not() -> None:
    noise = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    levels = {"low": ROWS[:200], "high": ROWS[:200] + 2 * noise}
    free = [Reducer.fit(rows, pca=10, n_neighbors=10) for rows in levels.values()]
    held = aligned(levels, pca=10, n_neighbors=10)
    assert list(held) == ["low", "high"]
    moved = movement([one.embedding for one in held.values()])
    independent = movement([one.embedding for one in free], superpose=True)
    assert moved.shape == (1,)
    assert moved[0] < 0.5 * independent[0]
    for one, alone in zip(held.values(), free, strict=True):
        lost = trustworthiness(alone.scores, alone.embedding) - trustworthiness(one.scores, one.embedding)
        assert lost < 0.03
    np.testing.assert_array_equal(held["high"].transform(levels["high"][:3]), held["high"].embedding[:3])
    again = aligned(levels, pca=10, n_neighbors=10)
    np.testing.assert_array_equal(again["low"].embedding, held["low"].embedding)


def test_movement_by_hand() -> None:
    here = np.array([[0.0, 0], [2, 0]])
    above = here + np.array([0, 3])
    np.testing.assert_allclose(movement([here, above, above]), [3, 0])
    np.testing.assert_allclose(movement([here, above], superpose=True), [0], atol=1e-12)


def test_levels_that_cannot_be_aligned_are_refused() -> None:
    with pytest.raises(ValueError, match="levels have rows: a 80, b 79; give one level or more"):
        aligned({"a": ROWS[:80], "b": ROWS[:79]})
    with pytest.raises(ValueError, match="pull is 2.0; give a share from 0"):
        aligned({"a": ROWS[:80]}, pull=2.0)
