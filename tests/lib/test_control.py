"""What a mask controls: layer sets, sources of values, both tables, the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from modescope import control, files, masking, params, sampling
from modescope.control.__main__ import main
from modescope.control.layers import shapes_of
from modescope.control.measuring import NEIGHBOUR, NOTHING
from modescope.control.sources import SOURCES, aims_at_real, choose_aims, default_sources
from modescope.control.subjects import Subject, of_checkpoint, of_project
from modescope.generators import load_generator
from modescope.making import Opened
from tests.dashboards.conftest import project_root  # noqa: F401 - a fixture

IMAGENET = {f"encoder_block_{i}": (1, side, side) for i, side in enumerate([64] * 4 + [32] * 4 + [16] * 4 + [8] * 3)}
IMAGENET |= {"encoder_bottleneck": (1, 8, 8), "midblock": (1, 8, 8)}


@pytest.fixture(scope="module")
def project(project_root: Path) -> Subject:  # noqa: F811
    return of_project(Opened(project_root, params.load(project_root / "params.yaml")), "student", "default", 50)


@pytest.fixture(scope="module")
def alone(project_root: Path) -> Subject:  # noqa: F811
    generator = load_generator(project_root / "data/checkpoints/student.safetensors", device="cpu")
    return of_checkpoint(generator, control.spans(24, 7), 0)


def controls(subject: Subject, *sources: str, aims: int = 6, seeds: int = 2) -> control.Controls:
    shapes = shapes_of(subject.generator)
    sets = control.layer_sets(shapes)
    return control.Controls(subject=subject, shapes=shapes, sets=sets, sources=sources, aims=aims, seeds=seeds, k=3)


@pytest.fixture(scope="module")
def table(project: Subject) -> pd.DataFrame:
    parts = controls(project, "recorded", "nearest")
    return control.control_table(parts, parts.sets)


class TestLayerSets:
    def test_a_deep_network_gets_a_set_for_each_resolution(self) -> None:
        sets = control.layer_sets(IMAGENET)
        assert {name: len(layers) for name, layers in sets.items()} == {
            "bottleneck": 1,
            "bottleneck + midblock": 2,
            "encoder up to 8x8": 4,
            "encoder up to 16x16": 8,
            "encoder up to 32x32": 12,
            "every encoder layer": 16,
        }
        assert sets["encoder up to 8x8"] == (*(f"encoder_block_{i}" for i in (12, 13, 14)), "encoder_bottleneck")

    def test_a_set_that_holds_what_another_holds_is_left_out(self) -> None:
        shapes = {"encoder_block_0": (1, 8, 8), "encoder_bottleneck": (1, 4, 4), "midblock": (1, 4, 4)}
        assert list(control.layer_sets(shapes)) == ["bottleneck", "bottleneck + midblock", "every encoder layer"]

    def test_shapes_come_from_the_network(self, alone: Subject) -> None:
        shapes = shapes_of(alone.generator)
        assert shapes["encoder_block_0"] == (32, 8, 8)
        assert shapes["encoder_bottleneck"] == shapes["midblock"] == (64, 4, 4)

    def test_sets_can_be_named_or_listed(self) -> None:
        sets = control.named_sets(["bottleneck", "encoder_bottleneck,encoder_block_3"], IMAGENET)
        assert sets == {
            "bottleneck": ("encoder_bottleneck",),
            "encoder_bottleneck + encoder_block_3": ("encoder_block_3", "encoder_bottleneck"),
        }
        with pytest.raises(ValueError, match="names 'decoder_block_1', which is no layer that a mask holds here"):
            control.named_sets(["decoder_block_1"], IMAGENET)


class TestAims:
    def test_an_aim_is_the_centre_of_the_nearest_others_and_its_class_their_majority(self, project: Subject) -> None:
        aims = choose_aims(project, 5, 3, real=True)
        side = project.real
        for point, rows, label in zip(aims.points, aims.neighbours, aims.labels, strict=True):
            np.testing.assert_allclose(point, side.features[rows].mean(0), rtol=1e-6)
            assert label in side.labels[rows]
            assert (side.labels[rows] == label).sum() == np.bincount(side.labels[rows]).max()
            # Of some sample of the side these are the nearest three.
            distances = np.linalg.norm(side.features[:, None] - side.features[None], axis=2)
            assert any(set(np.argsort(row)[1:4]) == set(rows) for row in distances)

    def test_more_aims_than_samples_are_refused(self, alone: Subject) -> None:
        with pytest.raises(ValueError, match="99 aims of 3 neighbours each are asked for, and there are 24 samples"):
            choose_aims(alone, 99, 3, real=False)


class TestSources:
    @pytest.fixture
    def path(self, project: Subject) -> str:
        return project.generator.module_paths(["encoder_bottleneck"])["encoder_bottleneck"]

    def computed(self, subject: Subject, rows: np.ndarray, path: str) -> torch.Tensor:
        noise = sampling.latents(subject.root, subject.indices[rows], subject.generator.latent_shape)
        return masking.record(subject.generator, noise, subject.made.labels[rows], [path])[1][path]

    def test_recorded_is_the_mean_of_what_the_neighbours_passes_compute(self, project: Subject, path: str) -> None:
        aims = choose_aims(project, 4, 3, real=False)
        values = SOURCES["recorded"](project, aims, [path])[path]
        expected = torch.stack([self.computed(project, rows, path).mean(0) for rows in aims.neighbours])
        torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-4)

    def test_nearest_takes_the_nearest_generated_sample_for_each_real_one(self, project: Subject, path: str) -> None:
        aims = choose_aims(project, 2, 1, real=True)
        values = SOURCES["nearest"](project, aims, [path])[path]
        apart = np.linalg.norm(project.real.features[aims.neighbours] - project.made.features[None], axis=2)
        torch.testing.assert_close(values, self.computed(project, apart.argmin(1), path), atol=1e-5, rtol=1e-4)

    def test_inverted_noise_makes_the_neighbours_as_far_as_it_can(self, project: Subject, path: str) -> None:
        """Of a generated sample's own image the noise is at hand: its nearest generated sample is itself."""
        own = replace(project, real=project.made)
        aims = choose_aims(own, 2, 1, real=True)
        values = SOURCES["inverted"](own, aims, [path])[path]
        torch.testing.assert_close(values, self.computed(own, aims.neighbours[:, 0], path), atol=1e-4, rtol=1e-3)

    @pytest.mark.parametrize("source", ["recorded", "nearest", "scaled", "inverted"])
    def test_every_source_gives_a_row_of_every_layer_for_each_aim(self, project: Subject, source: str) -> None:
        paths = list(project.generator.module_paths(["encoder_block_0", "encoder_bottleneck"]).values())
        aims = choose_aims(project, 2, 2, real=aims_at_real(project, source))
        values = SOURCES[source](project, aims, paths)
        assert {path: tuple(value.shape) for path, value in values.items()} == dict(
            zip(paths, [(2, 32, 8, 8), (2, 64, 4, 4)], strict=True)
        )

    @pytest.mark.parametrize("source", ["guided", "aimed"])
    def test_what_is_searched_for_lands_nearer_than_the_recorded_mean(self, project: Subject, source: str) -> None:
        aims = choose_aims(project, 3, 3, real=True)
        paths = list(project.generator.module_paths(control.layer_sets(IMAGENET)["bottleneck"]).values())
        paths += list(project.generator.module_paths([f"encoder_block_{i}" for i in range(3)]).values())

        def miss(values: dict) -> float:
            mask = masking.Mask(values=values, ids=("m",), weights=(1.0,), source="m", sigma=80.0)
            noise = sampling.latents(1, np.arange(3), (1, 8, 8))
            pixels = masking.generate(project.generator, noise, aims.labels, mask).pixels
            apart = project.features(pixels, aims.ids("test"), aims.labels) - aims.points
            return float(np.linalg.norm(apart, axis=1).mean())

        assert miss(SOURCES[source](project, aims, paths)) < miss(SOURCES["nearest"](project, aims, paths))

    def test_a_checkpoint_alone_has_its_own_samples_to_aim_at(self, alone: Subject, project: Subject) -> None:
        assert default_sources(alone) == ("recorded",)
        assert default_sources(project) == tuple(SOURCES)
        assert not aims_at_real(alone, "aimed")
        assert aims_at_real(project, "aimed")
        with pytest.raises(ValueError, match="start from real images, and a checkpoint alone has none"):
            choose_aims(alone, 2, 2, real=aims_at_real(alone, "scaled"))
        with pytest.raises(ValueError, match="source 'mean' is unknown; use some of recorded"):
            aims_at_real(alone, "mean")

    def test_without_slopes_nothing_is_searched_for(self, project: Subject) -> None:
        other = replace(project, look=replace(project.look, keep="mean"))
        assert "aimed" not in default_sources(other)
        with pytest.raises(ValueError, match="sources guided and aimed follow slopes through the features"):
            other.steering(["a"], np.array([1]))

    def test_slopes_are_followed_through_the_features_that_are_measured(self, project: Subject) -> None:
        pixels, labels, ids = project.made.pixels(np.arange(3)), project.made.labels[:3], ["a", "b", "c"]
        followed = project.steering(ids, labels)(project.generator.encode(pixels))
        np.testing.assert_allclose(followed.numpy(), project.features(pixels, ids, labels), atol=1e-4)


class TestControlTable:
    def test_a_row_for_every_source_and_set_and_what_they_are_measured_against(self, table: pd.DataFrame) -> None:
        assert table.groupby("aims").size().to_dict() == {"generated": 2 + 4, "real": 2 + 4}
        free = table[table["held"] == NOTHING]
        assert free[["control", "diversity"]].to_numpy().tolist() == [[1, 1], [1, 1]]
        assert table.loc[table["held"] == NEIGHBOUR, "diversity"].isna().all()
        assert set(table.loc[table["held"] == "bottleneck + midblock", "layers"]) == {"encoder_bottleneck midblock"}

    def test_holding_the_whole_encoder_leaves_no_diversity(self, table: pd.DataFrame) -> None:
        whole = table[table["held"] == "every encoder layer"]
        assert (whole["diversity"] < 0.02).all()
        assert (whole["diversity"].to_numpy() < table.loc[table["held"] == "bottleneck", "diversity"].to_numpy()).all()

    def test_as_many_parts_come_as_were_announced(self, alone: Subject) -> None:
        parts = controls(alone, "recorded")
        assert len(list(parts)) == len(parts) == 1 + 1 + 4

    def test_aims_go_through_in_blocks_with_the_same_result(
        self, alone: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts = controls(alone, "recorded")
        whole = control.control_table(parts, parts.sets)
        monkeypatch.setattr("modescope.control.measuring.MOST", 4)
        assert len(list(parts)) == len(parts) == 1 + 2 + 2 * 4
        pd.testing.assert_frame_equal(control.control_table(parts, parts.sets), whole, atol=2e-3)

    def test_nothing_to_measure_is_an_error(self, alone: Subject) -> None:
        for wrong in ({"seeds": 0}, {"sources": ()}, {"sets": {}}):
            with pytest.raises(ValueError, match="give at least one of each"):
                replace(controls(alone, "recorded"), **wrong)


class TestVarianceTable:
    def test_shares_add_up_and_a_mask_that_is_not_held_has_none(self, alone: Subject) -> None:
        sets = control.layer_sets(shapes_of(alone.generator))
        cells = control.Variances(subject=alone, sets=sets, levels=2, k=3)
        assert len(list(cells)) == len(cells) == (1 + 4) * 2
        table = control.variance_table(cells, sets).set_index("held")
        np.testing.assert_allclose(table.drop(columns="layers").sum(axis=1), 1, atol=5e-3)
        assert table.loc[NOTHING, ["mask", "mask x class", "mask x seed"]].max() == pytest.approx(0, abs=1e-3)
        assert table.loc["every encoder layer", "seed"] < 0.01 < table.loc[NOTHING, "seed"]

    def test_one_level_varies_nothing(self, alone: Subject) -> None:
        with pytest.raises(ValueError, match="levels is 1; a factor varies over at least 2"):
            control.Variances(subject=alone, sets={}, levels=1, k=3)


class TestSubjects:
    def test_samples_of_a_checkpoint_are_those_of_their_seeds_whatever_the_batches(self, alone: Subject) -> None:
        whole = of_checkpoint(alone.generator, control.spans(24), 0)
        np.testing.assert_allclose(whole.made.features, alone.made.features, atol=1e-2)
        assert whole.made.labels.tolist() == [i % 10 for i in range(24)]
        assert np.isnan(whole.judge(np.zeros((2, 1, 8, 8), np.uint8), np.zeros(2, int))).all()

    def test_pipeline_samples_keep_their_numbers_when_only_some_are_taken(self, project: Subject) -> None:
        noise = sampling.latents(project.root, project.indices, project.generator.latent_shape)
        made = masking.generate(project.generator, noise, project.made.labels, None).pixels
        apart = np.abs(made.astype(int) - project.made.pixels(np.arange(50)))
        assert apart.max() <= 1

    def test_a_generator_of_many_steps_is_refused(self, project_root: Path) -> None:  # noqa: F811
        opened = Opened(project_root, params.load(project_root / "params.yaml"))
        with pytest.raises(ValueError, match="generator 'teacher' is sampled by heun"):
            of_project(opened, "teacher", "default", 50)

    def test_an_unknown_architecture_is_refused(self) -> None:
        with pytest.raises(ValueError, match="architecture 'vast' is unknown; use one of imagenet64"):
            control.random_generator("vast", 0, "cpu")

    def test_random_weights_leave_no_layer_empty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        small = {"img_resolution": 8, "img_channels": 3, "label_dim": 4, "model_channels": 32, "channel_mult": [1, 2]}
        monkeypatch.setattr("modescope.control.subjects.ARCHITECTURES", {"small": {**small, "num_blocks": 1}})
        state = torch.random.get_rng_state()
        made, again, other = (control.random_generator("small", seed, "cpu") for seed in (0, 0, 1))
        assert torch.equal(torch.random.get_rng_state(), state)
        assert all(weight.any() for weight in made.network.parameters() if weight.ndim > 1)
        noise = sampling.latents(0, np.arange(2), made.latent_shape)
        pixels = [masking.generate(g, noise, np.array([0, 1]), None).pixels for g in (made, again, other)]
        assert (pixels[0] == pixels[1]).all()
        assert (pixels[0] != pixels[2]).any()


class TestCommand:
    def test_a_generator_of_the_project(
        self,
        project_root: Path,  # noqa: F811
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture,
    ) -> None:
        monkeypatch.chdir(project_root)
        words = ["student", "--aims", "4", "--seeds", "2", "--k", "2", "--out", str(tmp_path), "--sources", "nearest"]
        assert main([*words, "--sets", "bottleneck"]) == 0
        shown = capsys.readouterr().out
        table = files.read_table(tmp_path / "mask_control.student.csv")
        assert table["held"].tolist() == [NEIGHBOUR, NOTHING, "bottleneck"]
        assert files.read_table(tmp_path / "mask_variance.student.csv")["held"].tolist() == [NOTHING, "bottleneck"]
        assert "mask x class x seed" in shown
        assert shown.rstrip().endswith(" s")

    def test_a_checkpoint_that_the_project_does_not_know(
        self,
        project_root: Path,  # noqa: F811
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(project_root)
        words = ["data/checkpoints/student.safetensors", "--samples", "12", "--aims", "3", "--seeds", "1"]
        assert main([*words, "--view", "default", "--out", str(tmp_path), "--sets", "bottleneck"]) == 0
        table = files.read_table(tmp_path / "mask_control.student.csv")
        assert table["source"].fillna("").tolist() == ["", "", "recorded"]
        assert table["agreement"].isna().all()

    def test_a_name_that_nobody_knows_is_an_error(
        self,
        project_root: Path,  # noqa: F811
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture,
    ) -> None:
        monkeypatch.chdir(project_root)
        assert main(["nobody"]) == 1
        assert "'nobody' is neither a generator of params.yaml (teacher, other" in capsys.readouterr().err
