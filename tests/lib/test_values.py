"""Seeds, files, parameters and the machine: the values everything else stands on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modescope import files, params, runtime, seeds
from modescope.files import DamagedFileError
from modescope.params import ParamsError


@given(st.integers(0, 2**32), st.integers(0, 10**7))
def test_a_stream_repeats_and_differs_from_its_neighbours(root, index):
    def draw(*key):
        return seeds.stream(*key).integers(2**62)

    assert draw(root, "a", index) == draw(root, "a", index)
    others = [(root + 1, "a", index), (root, "b", index), (root, "a", index + 1), (root, "a", f"real/{index}")]
    assert len({draw(root, "a", index), *(draw(*key) for key in others)}) == 5


def test_noise_of_a_sample_does_not_depend_on_the_batch_and_never_changes():
    alone = seeds.normal(0, "latent", [5], (2, 3))
    among = seeds.normal(0, "latent", [3, 5, 9], (2, 3))
    assert np.array_equal(alone[0], among[1])
    assert alone.dtype == np.float32
    # The stream is part of every published result: this value may not move.
    assert seeds.stream(0, "latent", 5).integers(1000) == 282
    assert seeds.normal(0, "latent", [], (2, 3)).shape == (0, 2, 3)


def test_noise_is_standard_normal():
    values = seeds.normal(1, "latent", range(200), (8, 8))
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1) < 0.03


def test_a_failed_write_leaves_the_finished_file_and_no_rubbish(tmp_path):
    path = tmp_path / "a" / "value.json"
    files.write_json(path, {"x": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"x": object()})

    def interrupted():
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert files.read_json(path) == {"x": 1}
    assert [p.name for p in path.parent.iterdir()] == ["value.json"]


def test_arrays_tables_and_tensors_come_back_as_they_were(tmp_path):
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    files.write_array(tmp_path / "a.npy", array)
    assert np.array_equal(files.read_array(tmp_path / "a.npy", mapped=True), array)
    table = pd.DataFrame({"id": ["x", "y"], "v": [0.5, 1.5]})
    for name in ("t.parquet", "t.csv"):
        files.write_table(tmp_path / name, table)
        assert files.read_table(tmp_path / name).equals(table)
    files.write_tensors(tmp_path / "s.safetensors", {"w": array}, {"note": "hello"})
    tensors, metadata = files.read_tensors(tmp_path / "s.safetensors")
    assert np.array_equal(tensors["w"], array)
    assert metadata == {"note": "hello"}


@pytest.mark.parametrize("name", ["a.npy", "t.parquet", "s.safetensors", "j.json"])
def test_truncated_and_missing_files_name_themselves_and_the_remedy(tmp_path, name):
    path = tmp_path / name
    readers = {".npy": files.read_array, ".parquet": files.read_table, ".json": files.read_json}
    read = readers.get(path.suffix, files.read_tensors)
    with pytest.raises(DamagedFileError, match=f"{name} is missing; run `dvc repro`"):
        read(path)
    files.write_array(tmp_path / "a.npy", np.zeros(1000))
    files.write_table(tmp_path / "t.parquet", pd.DataFrame({"x": range(1000)}))
    files.write_tensors(tmp_path / "s.safetensors", {"w": np.zeros(1000)})
    files.write_json(tmp_path / "j.json", list(range(1000)))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DamagedFileError, match=f"{name} cannot be read .*Delete it and run `dvc repro`"):
        read(path)


def test_an_array_of_objects_is_refused_so_that_nothing_is_unpickled(tmp_path):
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DamagedFileError, match=r"evil.npy cannot be read"):
        files.read_array(path)


def test_params_yaml_of_the_repository_is_valid():
    settings = params.load()
    assert set(settings.generators) == {"teacher", "dmd2-early", "dmd2"}
    assert settings.view("default").sigma == 0.4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reel": {}}, "`reel` is no parameter"),
        ({"seed": -1}, "`seed` is -1: input should be greater than or equal to 0"),
        ({"seed": "zero"}, "`seed` is 'zero': input should be a valid integer"),
        ({"generators": {"a/b": {}}}, "generators.a/b"),
        ({"metrics": {}}, "`metrics.k` is missing"),
        ({"views": {}}, "`views` is {}: .*at least 1 item"),
    ],
)
def test_wrong_parameters_are_named_with_value_and_rule(tmp_path, change, message):
    raw = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw | change))
    with pytest.raises(ParamsError, match=message):
        params.load(path)


def test_a_missing_or_unreadable_params_file_says_what_to_do(tmp_path):
    with pytest.raises(ParamsError, match="is missing; run this in the repository root"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(ParamsError, match="is no valid YAML"):
        params.load(tmp_path / "params.yaml")


def test_unknown_generators_and_views_list_the_nearest():
    settings = params.load()
    with pytest.raises(ParamsError, match=r"generator 'dmd3' is not in params.yaml; nearest: 'dmd2'; known: teacher"):
        settings.generator("dmd3")
    with pytest.raises(ParamsError, match="view 'x' is not in params.yaml; known: default"):
        settings.view("x")


def test_the_machine_is_decided_once_and_checked():
    assert runtime.resolve_device("cpu") == torch.device("cpu")
    before = torch.get_num_threads()
    record = runtime.start("cpu", 1).record()
    torch.set_num_threads(before)
    assert record == {"device": "cpu", "threads": 1, "torch": torch.__version__}
    with pytest.raises(ValueError, match="device 'tpu' is unknown"):
        runtime.resolve_device("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_a_device_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match=r"'cuda' is not available on this machine \(here: .*cpu\)"):
        runtime.resolve_device("cuda")


def test_a_process_of_a_group_takes_the_gpu_of_its_rank_unless_one_is_named():
    assert runtime.gpu_index("", 4, {}) is None
    assert runtime.gpu_index("", 4, {"LOCAL_RANK": "3"}) == 3
    assert runtime.gpu_index("", 1, {"LOCAL_RANK": "3"}) == 0
    assert runtime.gpu_index("1", 4, {"LOCAL_RANK": "3"}) == 1
    with pytest.raises(
        ValueError, match=r"device 'cuda:4' is not available on this machine \(GPUs: 4, counted from 0\)"
    ):
        runtime.gpu_index("4", 4, {})


@pytest.mark.parametrize("device", ["cpu:1", "auto:0", "cuda:first", "mps:0", ""])
def test_only_gpus_have_numbers(device):
    with pytest.raises(ValueError, match=f"device '{device}' is unknown; use auto, cpu, cuda, cuda:N or mps"):
        runtime.resolve_device(device)


def test_the_record_of_a_machine_names_its_kind_and_not_the_number_of_its_gpu():
    machine = runtime.Runtime(device="cuda", threads=2, torch="2", gpu="H200")
    assert machine.record() == {"device": "cuda", "threads": 2, "torch": "2", "gpu": "H200"}
    assert 1 <= runtime.cores() <= os.cpu_count()


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="has a GPU")
def test_auto_says_when_it_ends_on_the_cpu(caplog):
    before = torch.get_num_threads()
    with caplog.at_level("INFO", "modescope.runtime"):
        runtime.start("auto", 1)
    torch.set_num_threads(before)
    assert "neither CUDA nor MPS is available here, the CPU is used" in caplog.text


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is glibc's")
def test_memory_that_is_kept_is_not_cleared_again():
    script = """
import resource
import numpy as np
from modescope import runtime
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(1 << 23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = faults()
assert runtime.keep_memory()
faults()
print(plain, faults())
"""
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    plain, kept = map(int, output.split())
    assert kept < plain / 10
