"""The ImageNet-64 profile, in the reduced size: both forms of ImageNet made up, a small network of the same layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks import rehearsal, standins
from benchmarks.rehearsal import PROFILE, ROOT, SMALL, VIEW, Report, changed, chromium, set_up
from modescope import classes, params
from modescope.edm import IMAGENET64, EDMPrecond
from modescope.generators import edm_layers
from stages.capture import capture, warn_of_one_step
from stages.compare import compare
from stages.evaluate import evaluate
from stages.fit import fit
from stages.generate import generate
from stages.prepare import prepare
from stages.project import project
from stages.track import flat

SOURCES = ("packed", "tree")


def run_stages(root: Path) -> None:
    """As `dvc repro` would, in this process."""
    chosen = params.load(root / "params.yaml")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        prepare(chosen)
        for name in chosen.generators:
            generate(chosen, name)
        for source in ("real", *chosen.generators):
            capture(chosen, VIEW, source)
        fit(chosen, VIEW)
        for name in chosen.generators:
            project(chosen, VIEW, name)
            evaluate(chosen, VIEW, name)
        compare(chosen, VIEW)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return set_up(tmp_path_factory.mktemp("rehearsal"), SMALL, real=20, fake=10, threads=1)


@pytest.fixture(scope="module", params=SOURCES)
def source(request):
    return request.param


@pytest.fixture(scope="module")
def root(stage, source):
    """A project on which every stage of the changed profile has run once."""
    folder = stage.folder / f"project-{source}"
    rehearsal.make_project(folder, stage, source)
    run_stages(folder)
    return folder


def raw_profile():
    return yaml.safe_load(PROFILE.read_text(encoding="utf-8"))


def test_the_profile_is_valid_and_its_view_looks_through_a_network_that_knows_its_noise(caplog):
    chosen = params.load(PROFILE)
    assert (chosen.real.kind, chosen.real.num_samples) == ("imagenet-npz", 50_000)
    warn_of_one_step(chosen, chosen.view(VIEW))
    assert caplog.text == ""
    assert chosen.view(VIEW).network == chosen.generator("teacher").checkpoint


def test_the_profile_names_layers_of_the_published_network():
    with torch.device("meta"):
        layers = edm_layers(EDMPrecond(**IMAGENET64))
    chosen = params.load(PROFILE)
    held = chosen.generator("dmd2").mask_layers
    assert held == [name for name in layers if name.startswith("encoder_") or name == "midblock"]
    assert set(chosen.view(VIEW).layers) <= set(layers)


def test_every_parameter_that_the_profile_sets_has_a_reason_beside_it():
    """At its first place or another; null and empty values need none."""
    text, bare, explained, above = PROFILE.read_text(encoding="utf-8"), set(), set(), False
    for line in text.partition("\ntraining:")[0].splitlines():
        name, colon, value = line.strip().partition(": ")
        if colon and not name.startswith("#"):
            (explained if "#" in value or above else bare).add(name)
        above = line.strip().startswith("#")
    assert bare - explained <= {"score", "percentile"}
    assert len(explained) > 40


def test_the_training_section_is_that_of_the_repository():
    default = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert raw_profile()["training"] == default["training"]


def test_a_rehearsal_changes_paths_the_machine_and_numbers_alone(stage, source):
    before, after = flat(raw_profile()), flat(changed(raw_profile(), stage, source))
    differ = {key.rpartition(".")[2] for key in before if before[key] != after[key]}
    paths, machine = {"npz_dir", "imagenet_dir", "checkpoint", "network"}, {"device", "threads"}
    assert differ <= paths | machine | {"num_samples", "batch_size", "steps", "components", "pca"}
    assert before.keys() == after.keys()


def test_pictures_tell_their_class_and_repeat():
    drawn, again = standins.draw(20), standins.draw(20)
    assert np.array_equal(drawn.pixels, again.pixels)
    assert np.array_equal(classes.from_npz_labels(drawn.npz_labels), drawn.index)
    assert np.unique(drawn.index, return_counts=True)[1].tolist() == [2] * 10
    middle = drawn.pixels[drawn.index == 0][:, :, 28:36, 28:36].astype(int).mean((0, 2, 3))
    assert middle[0] > 2 * middle[1:].max()


def test_random_weights_answer_to_noise_and_class():
    network = EDMPrecond(**SMALL).eval()
    network.load_state_dict(standins.random_weights(SMALL))
    noise = 80 * torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rows = torch.eye(1000)[[0, 1, 0]]
        one, other, third = network(noise[[0, 0, 1]], torch.full((3,), 80.0), rows)
    assert (one - other).std() > 0.05
    assert (one - third).std() > 0.05


def test_the_profile_runs_from_images_to_scores(root, stage, source):
    report = Report()
    rehearsal.check_real(root, stage, source, report)
    rehearsal.check_results(root, stage, report)
    assert any("449 is class 0, tench" in line for line in report.checks) == (source == "packed")


def test_a_claim_that_does_not_hold_ends_the_rehearsal():
    with pytest.raises(rehearsal.RehearsalError, match="not so: images differ"):
        Report().holds(False, "images differ")


@pytest.mark.browser
@pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("source", ["packed"], indirect=True, scope="module")
def test_a_hovered_image_is_large_and_smooth_with_its_name_and_masks_are_recomputed(root, tmp_path):
    report = Report()
    rehearsal.look(root, tmp_path, report)
    assert (tmp_path / "card.png").stat().st_size > 5000
    assert "explorer: an image was made with a recomputed mask" in report.checks
