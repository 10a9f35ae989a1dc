"""The plan before the work: costs counted without computing, measured within a budget, and told in one table."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from modescope import datasets, files, params, plan, runtime
from modescope.edm import IMAGENET64, EDMPrecond
from modescope.generators import Generator, edm_layers, load_generator
from modescope.plan import Cost, Evaluation, Work
from modescope.plan.__main__ import main
from stages.capture import capture
from stages.generate import generate
from stages.prepare import prepare

ROOT = Path(__file__).parents[2]
TINY = {
    "img_resolution": 8,
    "img_channels": 1,
    "label_dim": 10,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "channel_mult_emb": 4,
    "num_blocks": 1,
    "attn_resolutions": [4],
}


def evaluation(**asked) -> Evaluation:
    return Evaluation(
        **{"checkpoint": "a", "family": "edm", "precision": "float32", "batch": 4, "layers": (), "stop": False, **asked}
    )


def generator(network: nn.Module, shape, classes, layers) -> Generator:
    return Generator(
        family="edm",
        network=network,
        config={},
        layers=layers,
        checkpoint_hash="",
        latent_shape=shape,
        num_classes=classes,
    )


@pytest.fixture(scope="module")
def imagenet():
    with torch.device("meta"):
        network = EDMPrecond(**IMAGENET64)
    return generator(network, (3, 64, 64), 1000, edm_layers(network))


def test_a_full_and_a_truncated_pass_of_the_imagenet_network_cost_what_is_known(imagenet):
    layers = ("encoder_bottleneck", "midblock")
    full = plan.count_pass(imagenet, evaluation())
    part = plan.count_pass(imagenet, evaluation(layers=layers, stop=True))
    assert full.flops == pytest.approx(219e9, rel=0.02)
    assert part.flops == pytest.approx(61e9, rel=0.02)
    assert part.shapes == dict.fromkeys(layers, (768, 8, 8))
    assert 4 * 295_899_267 < part.memory < full.memory


def test_the_cost_of_an_image_does_not_depend_on_the_batch_and_its_memory_grows_with_it(imagenet):
    one, four, eight = (plan.count_pass(imagenet, evaluation(batch=n)) for n in (1, 4, 8))
    assert one.flops == four.flops == eight.flops
    assert one.memory < four.memory < eight.memory


class Layers(nn.Module):
    """Two layers of known cost: 8 values to 16 and back."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x, sigma, rows):
        return self.narrow(self.wide(x))


class Chain(nn.Module):
    """Five values after one another, of which the first four are forgotten."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x, sigma, rows):
        for _ in range(5):
            x = x * self.weight
        return x


def test_flops_memory_and_shapes_of_two_layers_counted_by_hand():
    network = generator(Layers(), (1, 1, 8), 0, {"wide": "wide", "narrow": "narrow"})
    weights, inputs = 4 * (8 * 16 + 16 + 16 * 8 + 8), 4 * 10 * (8 + 1)  # an image has 8 values and a noise level
    part = plan.count_pass(network, evaluation(batch=10, layers=("wide",), stop=True))
    assert part == plan.Pass(flops=2 * 8 * 16, memory=weights + inputs + 4 * 10 * 16, shapes={"wide": (1, 1, 16)})
    whole = plan.count_pass(network, evaluation(batch=10, layers=("narrow", "wide")))
    assert whole.flops == 2 * 2 * 8 * 16
    assert whole.memory == weights + inputs + 4 * 10 * (16 + 8)
    assert whole.shapes == {"wide": (1, 1, 16), "narrow": (1, 1, 8)}
    assert network.network.wide.weight.device.type == "cpu"


def test_memory_that_was_given_back_is_counted_no_more():
    found = plan.count_pass(generator(Chain(), (1, 1, 100), 0, {}), evaluation(batch=1))
    assert found.memory == 4 * (1 + 100 + 1 + 2 * 100)  # weight, input, noise level, never more than two values


@pytest.mark.parametrize(("name", "steps", "calls"), [("one-step", 1, 1), ("heun", 18, 35), ("heun", 2, 3)])
def test_evaluations_are_those_that_the_sampler_makes(name, steps, calls):
    assert plan.evaluations(name, steps) == calls


@pytest.mark.parametrize(
    ("kept", "row_bytes"),
    [
        ({}, 4 * 24),
        ({"image": True}, 4 * 24 + 50),
        ({"levels": 3, "itemsize": 2}, 3 * 2 * 24),
        ({"keep": "mean", "levels": 2}, 2 * 4 * (2 + 4)),
        ({"keep": "pca", "levels": 2, "components": 5}, 4 * (5 + 1)),
    ],
)
def test_bytes_on_disk_are_those_of_what_is_kept(kept, row_bytes):
    work = Work(**{"step": "a", "images": 1, "done": 0, "evaluations": (), "image": False, **kept})
    assert work.row_bytes([(2, 2, 2), (4, 2, 2)], 50) == row_bytes


def test_a_step_costs_the_sum_of_its_evaluations():
    network = generator(Layers(), (1, 1, 8), 0, {"wide": "wide"})
    part, whole = evaluation(layers=("wide",), stop=True), evaluation(layers=("wide",))
    work = Work(step="a", images=10, done=4, evaluations=((1, whole), (2, part)), image=True, levels=3)
    cost = plan.cost_of(work, network, {whole: 0.5, part: 0.125})
    assert cost.flops == 2 * 8 * 16 * (2 + 2)
    assert cost.row_bytes == 3 * 16 * 4 + 8
    assert (cost.images, cost.done, cost.seconds) == (10, 4, 0.75)
    assert plan.cost_of(work, network, {whole: 0.5}).seconds is None


class Machine:
    """A clock that only work moves: `fixed` seconds per call and `each` per image."""

    def __init__(self, fixed, each):
        self.now, self.fixed, self.each = 0.0, fixed, each
        self.sizes: list[int] = []

    def compute(self, size):
        self.sizes.append(size)
        self.now += self.fixed + self.each * size

    def clock(self):
        return self.now


def test_a_quick_network_is_measured_at_its_full_batch():
    machine = Machine(fixed=0.001, each=0.0001)
    seconds = plan.measure(machine.compute, batch=100, budget=10, clock=machine.clock)
    assert seconds == pytest.approx((0.001 + 100 * 0.0001) / 100)
    assert machine.sizes == [1, 1, 2, 4, 8, 16, 32, 64, 100, 100, 100]


def test_a_slow_network_is_measured_at_the_batch_that_the_time_allows():
    machine = Machine(fixed=0, each=1.0)
    assert plan.measure(machine.compute, batch=256, budget=10, clock=machine.clock) == pytest.approx(1.0)
    assert machine.sizes == [1, 1, 2, 4]
    assert machine.now <= 10


def test_one_image_is_measured_however_slow_it_is():
    machine = Machine(fixed=0, each=100.0)
    assert plan.measure(machine.compute, batch=8, budget=1, clock=machine.clock) == pytest.approx(100.0)
    assert machine.sizes == [1]


def test_the_best_of_the_largest_batches_counts():
    times = iter([9.0, 4.0, 2.0, 6.0, 2.0, 8.0])
    now = [0.0]

    def compute(size):
        now[0] += next(times)

    assert plan.measure(compute, batch=2, budget=100, clock=lambda: now[0]) == pytest.approx(1.0)


def test_a_batch_that_does_not_fit_the_memory_is_named_with_the_largest_that_did():
    def compute(size):
        if size > 4:
            raise torch.OutOfMemoryError

    with pytest.raises(
        ValueError, match=r"a batch of 8 images does not fit .*\(4 did\); lower batch_size .*which is 64"
    ):
        plan.measure(compute, batch=64, budget=10, clock=lambda: 0.0)


def test_what_is_done_costs_nothing_more():
    cost = Cost(step="generate a", images=1000, done=400, flops=2e9, row_bytes=10, seconds=0.5)
    assert (cost.left, cost.bytes_left, cost.seconds_left) == (600, 6000, 300.0)
    assert Cost(step="generate a", images=5, done=5).seconds_left == 0.0
    assert Cost(step="generate a", images=5, done=4).seconds_left is None
    with pytest.raises(ValueError, match="generate a: 6 of 5 images are done; give 0 to 5"):
        Cost(step="generate a", images=5, done=6)


def lines(costs):
    return [" ".join(line.split()) for line in plan.table(costs).splitlines()]


def test_the_table_tells_each_step_and_the_totals():
    costs = [
        Cost(step="prepare", images=1797, done=97, row_bytes=64),
        Cost(
            step="generate a", images=50_000, done=10_000, flops=219e9, row_bytes=12_288, memory=20 * 10**9, seconds=1
        ),
        Cost(step="capture v real", images=2000, flops=61e9, row_bytes=393_216, memory=10**9, seconds=0.1),
    ]
    assert lines(costs) == [
        "step images done GFLOP each TFLOP left disk memory time",
        "prepare 1,797 97 - - 109 kB - -",
        "generate a 50,000 10,000 219 8,760.0 492 MB 20 GB 11 h 7 min",
        "capture v real 2,000 0 61 122.0 786 MB 1 GB 3 min",
        "total 8,882.0 1.28 GB 20 GB 11 h 10 min",
    ]


def test_a_time_that_was_not_measured_is_not_made_up_nor_is_the_total():
    costs = [Cost(step="a", images=5, flops=1e9), Cost(step="b", images=5, flops=1e9, seconds=1)]
    assert [line.split()[-1] for line in lines(costs)] == ["time", "?", "s", "?"]
    assert [line.split()[-1] for line in lines([])] == ["time", "s"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (59, "59 s"), (90, "2 min"), (3599, "1 h 0 min"), (5400, "1 h 30 min"), (90_000, "1 d 1 h")],
)
def test_durations_read_as_a_person_says_them(seconds, said):
    assert lines([Cost(step="a", images=1, flops=1, seconds=seconds)])[1].endswith(f" - {said}")


def test_what_does_not_fit_the_disk_is_refused_with_the_remedy(tmp_path):
    files.check_room(tmp_path / "not" / "yet", 0, "this plan")
    with pytest.raises(ValueError, match=r"this plan needs 1000000\.00 GB in .*not.* GB are free; make room there"):
        files.check_room(tmp_path / "not" / "yet", 10**15, "this plan")
    with pytest.raises(ValueError, match=r"are free when 5% of the disk stay free; .*`keep: pca`"):
        files.check_room(tmp_path, 10**15, "this plan", spare=0.05)


def test_what_is_to_stay_free_counts_as_taken(tmp_path):
    assert files.free_bytes(tmp_path, spare=1.0) == 0
    assert 0 < files.free_bytes(tmp_path, spare=0.01) < files.free_bytes(tmp_path)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with params.yaml and a small network; `project(key=value, ...)` changes parameters and loads them."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    torch.manual_seed(0)
    files.write_tensors(
        tmp_path / "net.safetensors", {k: v.numpy() for k, v in EDMPrecond(**TINY).state_dict().items()}
    )
    how = {"checkpoint": "net.safetensors", "mask_layers": ["midblock"]}
    raw["runtime"] |= {"device": "cpu", "threads": 1, "launch": "local"}
    raw["real"] |= {"num_samples": 40}
    raw["generate"] |= {"num_samples": 20, "batch_size": 8, "shard_rows": 16}
    raw["generators"] = {"one": raw["generators"]["dmd2"] | how}
    raw["inversion"]["generators"] = raw["reach"]["generators"] = []
    raw["views"]["default"] |= {"network": "net.safetensors", "layers": ["encoder_bottleneck", "midblock"]}
    raw["capture"] |= {"batch_size": 8, "shard_rows": 16}
    raw["capture"]["basis"] |= {"components": 4, "rows": 16}
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()

    def change(**changes):
        for key, value in changes.items():
            *sections, last = key.split("__")
            place = raw
            for section in sections:
                place = place[section]
            place[last] = value
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        return params.load()

    yield change
    torch.set_num_threads(threads)


def found(chosen):
    """{step: (images, done)} of the plan."""
    real = datasets.choose(chosen.real, chosen.seed)
    machine = runtime.start("cpu", 1)
    first = plan.prepare_cost(real, Path("data"))
    steps = [first, *plan.works(chosen, real, Path("data"), machine)]
    return {step.step: (step.images, step.done) for step in steps}


def test_before_anything_is_there_everything_is_to_be_done(project):
    assert found(project()) == {
        "prepare": (40, 0),
        "generate one": (20, 0),
        "capture default real": (40, 0),
        "capture default one": (20, 0),
    }
    assert found(project(generate__num_samples=None))["generate one"] == (40, 0)


def test_rows_of_finished_shards_are_done_also_when_more_are_asked_for(project):
    chosen = project()
    prepare(chosen)
    assert found(chosen)["prepare"] == (40, 40)
    generate(chosen, "one")
    capture(chosen, "default", "real")
    capture(chosen, "default", "one")
    assert all(images == done for images, done in found(chosen).values())
    more = found(project(generate__num_samples=30))
    assert more["generate one"] == (30, 16)  # two batches of 8 are whole, 4 more were cut short
    assert more["capture default one"] == (30, 16)
    assert found(project(generate__num_samples=20, seed=1))["generate one"] == (20, 0)


def test_finished_folders_are_done_without_the_shards_they_were_made_of(project):
    chosen = project()
    prepare(chosen)
    generate(chosen, "one")
    capture(chosen, "default", "one")
    shutil.rmtree("data/shards")
    assert found(chosen)["generate one"] == found(chosen)["capture default one"] == (20, 20)
    assert found(project(generate__num_samples=30))["generate one"] == (30, 0)
    assert found(project(generate__num_samples=20, generate__batch_size=4))["generate one"] == (20, 0)


def test_a_view_that_keeps_components_has_its_basis_first(project):
    chosen = project(views__default__keep="pca", views__default__sigma=[0.4, 2.0])
    assert found(chosen)["basis default"] == (16, 0)
    prepare(chosen)
    assert found(chosen)["capture default real"] == (40, 0)
    capture(chosen, "default", "real")
    assert found(chosen)["basis default"] == (16, 16)
    assert found(chosen)["capture default real"] == (40, 40)


def test_other_real_images_make_what_is_there_count_for_nothing(project):
    chosen = project()
    prepare(chosen)
    generate(chosen, "one")
    other = found(project(real__num_classes=5))
    assert other["prepare"] == (40, 0)
    assert other["generate one"] == (20, 0)


def test_a_damaged_folder_is_to_be_made_again(project):
    chosen = project()
    prepare(chosen)
    Path("data/real/manifest.json").write_text("{")
    assert found(chosen)["prepare"] == (40, 0)


def test_each_look_takes_the_evaluations_that_the_stage_makes(project):
    def looks(chosen):
        real = datasets.choose(chosen.real, chosen.seed)
        *_, last = plan.works(chosen, real, Path("data"), runtime.start("cpu", 1))
        return [(count, kind.stop) for count, kind in last.evaluations]

    assert looks(project()) == [(1, True)]
    assert looks(project(views__default__sigma=[0.4, 2.0])) == [(2, True)]
    assert looks(project(capture__reconstructions=True)) == [(1, False), (1, True)]
    sampling = {"views__default__protocol": "sampling", "views__default__real_protocol": "scaled"}
    project(generators__one__sampler="heun", generators__one__steps=4)
    assert looks(project(views__default__sigma=80.0, **sampling)) == [(7, False)]


def test_planned_bytes_are_those_that_the_stages_write(project):
    chosen = project()
    prepare(chosen)
    network = load_generator("net.safetensors", device="cpu")
    real = datasets.choose(chosen.real, chosen.seed)
    costs = [
        plan.cost_of(work, network, {}) for work in plan.works(chosen, real, Path("data"), runtime.start("cpu", 1))
    ]
    planned = {cost.step: cost.bytes_left for cost in costs}
    generate(chosen, "one")
    capture(chosen, "default", "real")
    for step, folder in (("generate one", "fake/one"), ("capture default real", "activations/default/real")):
        arrays = [np.load(path) for path in (Path("data") / folder).rglob("*.npy")]
        assert sum(array.nbytes for array in arrays) == planned[step]


def test_the_command_prints_the_plan(project, capsys):
    project()
    assert main(["--no-measure"]) == 0
    printed = capsys.readouterr().out
    for said in ("prepare", "generate one", "capture default real", "total", "Disk: ", "Times were not measured."):
        assert said in printed
    assert main([]) == 0
    measured = capsys.readouterr().out
    assert "?" not in measured
    assert "in one process" in measured


def test_a_plan_that_does_not_fit_the_disk_ends_in_one_paragraph(project, capsys):
    project(generate__num_samples=10**15)
    assert main(["--no-measure"]) == 1
    printed = capsys.readouterr()
    assert "generate one" in printed.out
    said = " ".join(printed.err.split())
    assert said.startswith("plan: this plan needs ")
    assert "are free when 5% of the disk stay free; make room there" in said


def test_parameters_that_cannot_be_used_are_told_as_they_are(project, capsys):
    project(runtime__device="tpu")
    assert main([]) == 1
    assert "plan: device 'tpu' is unknown" in capsys.readouterr().err
