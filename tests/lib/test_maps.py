"""Maps grown and aligned, on stored activations of two layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_digits

from modescope import params, store
from modescope.maps import align, columns, grow
from modescope.maps.__main__ import main
from modescope.projection import Reducer

PIXELS = load_digits().data[np.random.default_rng(0).permutation(1797)].astype(np.float32)
HOW = params.load().reducer.model_copy(update={"pca": 10, "n_neighbors": 8})


def stored(folder: Path, values: np.ndarray, **config: object) -> store.Activations:
    """Activations of two layers of 32 columns each."""
    table = store.sample_table([f"real/{i}" for i in range(len(values))], np.zeros(len(values)))
    layers = {"enc": values[:, :32].reshape(-1, 2, 4, 4), "mid": values[:, 32:].reshape(-1, 32, 1, 1)}
    known = {"network_hash": "a" * 64, "view": {"sigma": 0.4}, "keep": "full"} | config
    store.write_rows(folder, [layers], table, kind="activations", config=known, shard_rows=100)
    return store.open_activations(folder)


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    """A map of 150 samples, as the stage writes it."""
    real = stored(tmp_path / "before", PIXELS[:150])
    reducer = Reducer.fit(
        {"real": real.matrix}, pca=10, n_neighbors=8, columns=columns(real), network=real.config["network_hash"]
    )
    reducer.save(tmp_path / "map" / "reducer")
    store.write_map(tmp_path / "map" / "real.parquet", real.ids, reducer.embedding)
    return tmp_path / "map"


def test_a_grown_map_keeps_every_place_and_adds_the_new_samples(fitted: Path, tmp_path: Path) -> None:
    now = stored(tmp_path / "now", PIXELS[:250])
    seen = grow(fitted, now, tmp_path / "grown")
    assert seen.rows == 100
    assert seen.p > 0.01
    before, grown = Reducer.load(fitted / "reducer"), Reducer.load(tmp_path / "grown" / "reducer")
    assert grown.parts == {"real": 150, "added": 100}
    places = store.read_map(tmp_path / "grown" / "real.parquet", now.ids)
    np.testing.assert_array_equal(places[:150], before.embedding)
    np.testing.assert_array_equal(places[150:], before.transform(PIXELS[150:250]))
    np.testing.assert_array_equal(grown.embedding, places)
    assert grow(tmp_path / "grown", stored(tmp_path / "more", PIXELS[:260]), tmp_path / "twice", part="more").rows == 10


def test_a_map_that_is_there_is_never_replaced_and_nothing_new_is_an_error(fitted: Path, tmp_path: Path) -> None:
    same = stored(tmp_path / "same", PIXELS[:150])
    with pytest.raises(ValueError, match="map is not empty; a map that is there is never replaced: give a new folder"):
        grow(fitted, same, fitted)
    with pytest.raises(ValueError, match="same holds no sample that the map in .* does not hold"):
        grow(fitted, same, tmp_path / "new")
    other = stored(tmp_path / "other", PIXELS[:160], network_hash="b" * 64)
    with pytest.raises(ValueError, match="come from network bbb"):
        grow(fitted, other, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_drift_is_told_on_the_command_line(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    stored(tmp_path / "now", np.concatenate([PIXELS[:150], 16 - PIXELS[150:200]]))
    assert main(["grow", str(fitted), str(tmp_path / "now"), str(tmp_path / "grown")]) == 0
    assert "nearest fitted row of 50 new rows" in capsys.readouterr().out
    assert "50 new rows have drifted" in caplog.text
    assert main(["grow", str(fitted), str(tmp_path / "now"), str(tmp_path / "grown")]) == 1
    assert "grow: " in capsys.readouterr().err


def test_aligned_maps_of_two_views_hold_the_same_samples_in_place(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal((200, 64)).astype(np.float32)
    views = {"low": stored(tmp_path / "low", PIXELS[:200]), "high": stored(tmp_path / "high", PIXELS[:200] + 2 * noise)}
    table = align(views, tmp_path / "maps", seed=0, pull=0.3, how=HOW)
    assert table["view"].tolist() == ["low", "high"]
    assert np.isnan(table["moved"][0])
    assert table["moved"][1] < 0.3
    assert (table["trustworthiness"] > 0.85).all()
    for name, real in views.items():
        reducer = Reducer.load(tmp_path / "maps" / name / "reducer")
        np.testing.assert_array_equal(
            store.read_map(tmp_path / "maps" / name / "real.parquet", real.ids), reducer.embedding
        )
        reducer.check_source(columns(real), real.config["network_hash"])


def test_views_of_other_samples_are_not_aligned(tmp_path: Path) -> None:
    views = {"one": stored(tmp_path / "one", PIXELS[:60]), "two": stored(tmp_path / "two", PIXELS[:50])}
    with pytest.raises(ValueError, match="two and .*one hold other samples or keep other values"):
        align(views, tmp_path / "maps", seed=0, pull=0.3, how=HOW)


def test_aligning_by_name_reads_the_views_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    raw["reducer"] |= {"pca": 5, "n_neighbors": 5}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    for name in ("low", "high"):
        stored(tmp_path / "data" / "activations" / name / "real", PIXELS[:80])
    monkeypatch.chdir(tmp_path)
    assert main(["align", "maps", "low", "high"]) == 0
    assert "moved" in capsys.readouterr().out
    assert Reducer.load("maps/high/reducer").settings.pca == 5
