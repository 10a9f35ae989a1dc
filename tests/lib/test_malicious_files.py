"""Every kind of file that the project loads, with something inside that would run: it is refused, and nothing runs."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from modescope import components, files, params, store
from modescope.exchange.arrays import read_npz
from modescope.exchange.original import read_json
from modescope.extractors import ScriptError
from modescope.generators import load_generator
from modescope.images import open_images
from modescope.metrics.__main__ import main as score
from modescope.metrics.moments import read_reference
from modescope.metrics.reference import read_neighbours
from modescope.projection import Reducer
from modescope.store import open_activations, open_stored_images
from tests.lib.scripts import exported
from tests.lib.traps import Evil


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def as_script(path):
    return load_generator(path, "torchscript", None, "cpu")


def write_pickle(path, evil):
    path.write_bytes(pickle.dumps(evil))


def write_objects(path, evil):
    values = np.array([evil], object)
    if path.suffix == ".npz":
        np.savez(path, data=values, labels=values, mu=values, sigma=values)
    else:
        np.save(path, values)


def write_torch(path, evil):
    torch.save({"weight": torch.zeros(1), "evil": evil}, path)


LOADERS = {
    "checkpoint.bin": (load_generator, (write_pickle, write_torch)),
    "checkpoint.pt": (load_generator, (write_pickle, write_torch)),
    "checkpoint.pth": (load_generator, (write_pickle, write_torch)),
    "checkpoint.pkl": (load_generator, (write_pickle, write_torch)),
    "checkpoint.safetensors": (load_generator, (write_pickle, write_torch)),
    "network.pt": (as_script, (write_pickle, write_torch)),
    "neighbours.safetensors": (lambda path: read_neighbours(path, "key"), (write_pickle, write_torch)),
    "made/0123.json": (lambda path: store.read_made(path.parent, "made/0123"), (write_pickle,)),
    "points.parquet": (lambda path: store.read_map(path, ["real/0"]), (write_pickle,)),
    "scores.csv": (lambda path: store.read_map(path, ["real/0"]), (write_pickle,)),
    "original.json": (read_json, (write_pickle,)),
    "array.npy": (files.read_array, (write_pickle, write_objects)),
    "mapped.npy": (lambda path: files.read_array(path, mapped=True), (write_pickle, write_objects)),
    "activations.npz": (read_npz, (write_pickle, write_objects)),
    "reference.npz": (read_reference, (write_pickle, write_objects)),
    "basis.safetensors": (components.load, (write_pickle, write_torch)),
    "tensors.safetensors": (files.read_tensors, (write_pickle, write_torch)),
    "table.parquet": (files.read_table, (write_pickle,)),
    "record.json": (files.read_json, (write_pickle,)),
    "packed/train_data_batch_1.npz": (
        lambda path: open_images("imagenet-npz", path.parent).read(np.array([0])),
        (write_pickle, write_objects),
    ),
    "photos/n01440764/one.JPEG": (
        lambda path: open_images("folder", path.parents[1], 8).read(np.array([0])),
        (write_pickle,),
    ),
    "map/reducer.json": (lambda path: Reducer.load(path.parent), (write_pickle,)),
    "acts/manifest.json": (lambda path: open_activations(path.parent), (write_pickle,)),
    "images/manifest.json": (lambda path: open_stored_images(path.parent), (write_pickle,)),
}


@pytest.mark.parametrize(("name", "written"), [(name, way) for name, (_, ways) in LOADERS.items() for way in ways])
def test_no_loader_of_the_project_runs_what_a_file_holds(tmp_path, target, name, written):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    written(path, Evil(target))
    assert b"touch" in path.read_bytes()
    with pytest.raises(ValueError, match=f"{path.stem}|Object arrays cannot be loaded|pickled .object. data"):
        LOADERS[name][0](path)


@pytest.mark.parametrize("written", [write_pickle, write_objects])
def test_the_scoring_command_refuses_arrays_of_objects(tmp_path, target, capsys, written):
    path = tmp_path / "scored.npy"
    written(path, Evil(target))
    assert score([str(path), str(path)]) == 2
    assert "scored.npy cannot be read" in capsys.readouterr().err


def test_a_stored_shard_of_objects_is_refused(tmp_path, target):
    """The folder's manifest is true, the shard itself a pickle."""
    shard = tmp_path / "acts/layer/00000.npy"
    shard.parent.mkdir(parents=True)
    write_objects(shard, Evil(target))
    with pytest.raises(files.DamagedFileError, match=r"00000.npy cannot be read"):
        files.read_array(shard, mapped=True)


def test_a_reducer_whose_arrays_are_a_pickle_is_refused(tmp_path, target):
    write_pickle(tmp_path / "reducer.safetensors", Evil(target))
    record = {"format": 1, "settings": {}, "curve": {}, "versions": {}, "sha256": ""}
    for number in (1, 2, 3):
        files.write_json(tmp_path / "reducer.json", {**record, "format": number})
        with pytest.raises(ValueError, match="reducer"):
            Reducer.load(tmp_path)


def test_parameters_that_ask_yaml_for_an_object_are_refused(tmp_path, target):
    path = Path(tmp_path, "params.yaml")
    path.write_text(f"seed: !!python/object/apply:os.system [\"touch '{target}'\"]\n", encoding="utf-8")
    with pytest.raises(params.ParamsError, match="is no valid YAML"):
        params.load(path)


def test_the_arrays_of_a_made_image_are_no_pickle(tmp_path, target):
    write_pickle(tmp_path / "0123.safetensors", Evil(target))
    files.write_json(tmp_path / "0123.json", {"id": "made/0123", "sha256": files.sha256(tmp_path / "0123.safetensors")})
    with pytest.raises(files.DamagedFileError, match="0123.safetensors"):
        store.read_made(tmp_path, "made/0123")


def test_a_table_with_a_column_of_a_pickled_type_runs_nothing(tmp_path, target):
    """Arrow once unpickled the type of such a column when it read the schema."""
    hidden = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Evil(target)),
    }
    schema = pa.schema([pa.field("sample_id", pa.string()), pa.field("x", pa.int64(), metadata=hidden)])
    pq.write_table(pa.table({"sample_id": ["real/0"], "x": [1]}, schema=schema), tmp_path / "table.parquet")
    hidden_there = pq.read_schema(tmp_path / "table.parquet").field("x").metadata[b"ARROW:extension:metadata"]
    assert b"touch" in hidden_there
    assert files.read_table(tmp_path / "table.parquet")["sample_id"].tolist() == ["real/0"]


class Compute(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def scripted(path, line, *, extra=""):
    """A TorchScript file in which `line` stands before what the network computes."""
    honest = exported(path.with_suffix(".honest"), Compute())
    with zipfile.ZipFile(honest) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(".py"):
                source = content.decode()
                place = source.index("    return") if "    return" in source else source.index("    _0 =")
                source = source[:place] + (f"    {line}\n" if line else "") + source[place:] + extra
                content = source.encode()
            if not name.endswith(".debug_pkl"):
                new.writestr(name, content)
    return path


def test_the_trap_of_the_scripts_works(tmp_path):
    """Written this way a file is read, and what stands in it runs."""
    path = scripted(tmp_path / "plain.pt", "")
    assert torch.equal(as_script(path).network.features.script(torch.zeros(1)), torch.ones(1))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('torch.save(x, "{target}")', "torch.save"),
        ('_1 = torch.from_file("{target}", True, 4)', "torch.from_file"),
        ("_1 = ops.aten.from_file('{target}', True, 4)", "from_file"),
        ("_1 = ops . c10d . barrier(x)", "ops . c10d"),
        ("_1 = ops.profiler._record_function_enter('x')", "ops.profiler"),
        ('print("hello")', "print"),
        ("_1 = rpc_sync('worker', f, (), {{}})", "rpc_sync"),
    ],
)
def test_a_script_that_does_more_than_compute_is_refused_before_torch_reads_it(
    tmp_path, target, monkeypatch, line, said
):
    path = scripted(tmp_path / "evil.pt", line.format(target=target))
    monkeypatch.setattr(torch.jit, "load", None)
    with pytest.raises(
        ScriptError, match=f"evil.pt is refused: its source says .*{said}.*; a network of features computes"
    ):
        as_script(path)


def test_a_script_with_code_that_runs_while_it_is_read_is_refused(tmp_path, target):
    extra = "  def __setstate__(self, state: Tensor) -> None:\n    return None\n"
    path = scripted(tmp_path / "early.pt", "", extra=extra)
    with pytest.raises(ScriptError, match="early.pt is refused: its source says .*__setstate__"):
        as_script(path)


class Quantized(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.relu6(x)


class Decomposed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.prims.sin(x)


@pytest.mark.parametrize("network", [Quantized(), Decomposed()])
def test_operators_of_other_libraries_are_refused(tmp_path, network):
    path = exported(tmp_path / "other.pt", network)
    with pytest.raises(ScriptError, match=r"other.pt is refused: its source says .*ops\.(quantized|prims)"):
        as_script(path)


def test_the_graph_is_looked_at_as_well(tmp_path, monkeypatch, target):
    """Were the source to pass, the operators of the graph would not."""
    from modescope import extractors

    path = scripted(tmp_path / "evil.pt", f'torch.save(x, "{target}")')
    monkeypatch.setattr(extractors, "_check_source", lambda path: None)
    with pytest.raises(ScriptError, match="evil.pt is refused: it calls aten::save"):
        as_script(path)


def test_objects_of_a_library_inside_a_script_are_refused(tmp_path):
    path = scripted(tmp_path / "object.pt", "")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("object.honest/extra/data.pkl", b"c__torch__.torch\nclasses.rpc.Anything\n.")
    with pytest.raises(
        ScriptError, match=r"object.pt is (refused: it holds objects of a C\+\+ library|no TorchScript file)"
    ):
        as_script(path)


@pytest.mark.parametrize("ending", ["pt", "pth", "bin"])
def test_a_script_is_no_checkpoint(tmp_path, target, ending):
    """torch.load hands such files to its script reader where it is allowed to."""
    path = scripted(tmp_path / f"evil.{ending}", f'torch.save(x, "{target}")')
    with pytest.raises(ValueError, match="is refused"):
        load_generator(path)
