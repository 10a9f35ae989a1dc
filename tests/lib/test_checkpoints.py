"""Checkpoint files: what is found and read, and that nothing inside any file that the project loads ever runs."""

from __future__ import annotations

import json
import os
import pickle
import sys
import types
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from modescope import checkpoints, files
from modescope.checkpoints import CheckpointError
from modescope.edm import EDMPrecond
from modescope.generators import load_generator
from tests.lib.traps import Evil

CONFIG = {
    "img_resolution": 8,
    "img_channels": 1,
    "label_dim": 3,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "channel_mult_emb": 1,
    "num_blocks": 1,
    "attn_resolutions": [4],
}
BUILT = {
    "img_resolution": 8,
    "img_channels": 1,
    "label_dim": 3,
    "use_fp16": False,
    "sigma_max": float("inf"),
    "sigma_data": 0.25,
    "model_type": "DhariwalUNet",
    "dropout": 0.1,
    "label_dropout": 0.2,
}
TRAP = "raise SystemExit('source of a pickle was run')"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return EDMPrecond(**CONFIG, label_dropout=0.2)


@pytest.fixture
def edm_names(monkeypatch):
    """The modules whose names EDM's pickles hold, there while a pickle is written and gone when it is read."""
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("called")

    class EasyDict(dict):
        pass

    for made, module in ((_reconstruct_persistent_obj, persistence), (EasyDict, util)):
        made.__module__, made.__qualname__ = module.__name__, made.__name__
        setattr(module, made.__name__, made)
    with monkeypatch.context() as patch:
        for module in (persistence, util, types.ModuleType("torch_utils"), types.ModuleType("dnnlib")):
            patch.setitem(sys.modules, module.__name__, module)
        yield _reconstruct_persistent_obj, EasyDict


def write_edm(path, network, edm_names, *, built=BUILT, class_name="EDMPrecond", **more):
    """A pickle of the kind that EDM publishes: its own modules by (class name, source, attributes), torch's by name."""
    reconstruct, easy = edm_names

    class Pickler(pickle.Pickler):
        def reducer_override(self, obj):
            if not isinstance(obj, nn.Module) or not type(obj).__module__.startswith("modescope"):
                return NotImplemented
            name, state = type(obj).__name__, dict(obj.__dict__)
            if isinstance(obj, EDMPrecond):
                name, state = class_name, {**state, "_init_args": (), "_init_kwargs": easy(built)}
            meta = {"type": "class", "version": 6, "module_src": TRAP, "class_name": name, "state": state}
            return reconstruct, (meta,)

    with path.open("wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own way to pickle a storage
        Pickler(file).dump({"ema": network, "loss_fn": easy(P_mean=-1.2), "mean": np.zeros(3), **more})
    return path


@pytest.fixture
def edm_pickle(tmp_path, network, edm_names):
    return write_edm(tmp_path / "edm.pkl", network, edm_names)


def test_an_edm_pickle_gives_the_tensors_and_settings_of_its_network(edm_pickle, network):
    state, settings = checkpoints.unpickled(edm_pickle)
    assert list(state) == list(network.state_dict())
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    assert settings == {"sigma_max": float("inf"), "sigma_data": 0.25, "dropout": 0.1, "label_dropout": 0.2}


def test_a_pickle_loads_as_the_network_that_it_describes_and_is_named_by_its_own_bytes(edm_pickle, network):
    generator = load_generator(edm_pickle, device="cpu")
    assert generator.config["sigma_data"] == 0.25
    assert generator.config["label_dropout"] == 0.2
    assert generator.checkpoint_hash == files.sha256(edm_pickle)
    x, sigma, rows = torch.randn(2, 1, 8, 8), torch.ones(2), torch.eye(3)[:2]
    same = EDMPrecond(**CONFIG, sigma_data=0.25).eval()
    same.load_state_dict(network.state_dict())
    assert torch.equal(generator.denoise(x, sigma, rows), same(x, sigma, rows))


def test_a_pickle_is_read_once_and_its_tensors_kept_beside_it(edm_pickle, monkeypatch):
    first = checkpoints.read(edm_pickle)
    assert (edm_pickle.parent / "edm.pkl.safetensors").is_file()
    monkeypatch.setattr(checkpoints, "unpickled", None)
    again = checkpoints.read(edm_pickle)
    assert (again.settings, again.sha256, again.path) == (first.settings, first.sha256, edm_pickle)
    assert all(torch.equal(first.state[name], value) for name, value in again.state.items())


def test_tensors_kept_of_other_bytes_are_not_used(tmp_path, network, edm_names, edm_pickle):
    checkpoints.read(edm_pickle)
    other = EDMPrecond(**CONFIG)
    write_edm(edm_pickle, other, edm_names)
    assert torch.equal(
        checkpoints.read(edm_pickle).state["model.out_conv.bias"], other.state_dict()["model.out_conv.bias"]
    )
    (tmp_path / "edm.pkl.safetensors").write_bytes(b"half a file")
    assert set(checkpoints.read(edm_pickle).state) == set(network.state_dict())


def test_where_nothing_may_be_written_the_tensors_go_to_the_cache(edm_pickle, monkeypatch):
    write = files.write_tensors

    def refusing(path, tensors, metadata):
        if path.parent == edm_pickle.parent:
            raise PermissionError(path)
        write(path, tensors, metadata)

    monkeypatch.setattr(files, "write_tensors", refusing)
    checkpoints.read(edm_pickle)
    monkeypatch.setattr(checkpoints, "unpickled", None)
    assert checkpoints.read(edm_pickle).settings["dropout"] == 0.1
    assert [path.name for path in (edm_pickle.parent / "cache/modescope").iterdir()] == [
        f"{files.sha256(edm_pickle)}.safetensors"
    ]


def test_where_nothing_can_be_kept_the_pickle_is_read_all_the_same(edm_pickle, monkeypatch, caplog):
    def refusing(path, tensors, metadata):
        raise OSError("no space left")

    monkeypatch.setattr(files, "write_tensors", refusing)
    assert checkpoints.read(edm_pickle).settings["dropout"] == 0.1
    assert caplog.text.count("are not kept in") == 2


def test_pickles_of_other_networks_say_what_they_are(tmp_path, network, edm_names):
    path = write_edm(tmp_path / "vp.pkl", network, edm_names, class_name="VPPrecond")
    with pytest.raises(CheckpointError, match=r"vp.pkl is refused: its network is a VPPrecond around a DhariwalUNet"):
        checkpoints.read(path)
    path = write_edm(tmp_path / "cifar.pkl", network, edm_names, built={**BUILT, "model_type": "SongUNet"})
    with pytest.raises(CheckpointError, match="is a EDMPrecond around a SongUNet; this version knows EDMPrecond"):
        checkpoints.read(path)
    path.write_bytes(pickle.dumps({"ema": {"weight": 1}}))
    with pytest.raises(CheckpointError, match="it holds no network under 'ema'"):
        checkpoints.read(path)
    path.write_bytes(pickle.dumps([1, 2])[:-1])
    with pytest.raises(CheckpointError, match=r"is refused \(\w+\): no EDM pickle"):
        checkpoints.read(path)


def test_a_folder_stands_for_the_one_checkpoint_in_it(tmp_path, network):
    state = {name: value.clone() for name, value in network.state_dict().items()}
    inner = tmp_path / "run/checkpoint_model_000500"
    inner.mkdir(parents=True)
    torch.save(state, inner / "generator.pth")
    assert checkpoints.find(tmp_path / "run") == inner / "generator.pth"
    for name in ("pytorch_model.bin", "pytorch_model_1.bin", "optimizer.bin"):
        torch.save(state, inner / name)
    (inner / "random_states_0.pkl").touch()
    assert checkpoints.find(tmp_path / "run") == inner / "pytorch_model.bin"
    assert load_generator(tmp_path / "run", device="cpu").num_classes == 3
    torch.save(state, tmp_path / "run/pytorch_model.bin")
    assert checkpoints.find(tmp_path / "run") == tmp_path / "run/pytorch_model.bin"


def test_a_folder_without_one_checkpoint_says_what_it_holds(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint; give a file, or a folder with a pytorch_model.bin"):
        checkpoints.find(tmp_path)
    for step in (500, 1000):
        (tmp_path / f"step_{step}").mkdir()
        (tmp_path / f"step_{step}/pytorch_model.bin").touch()
    listed = "holds 2 checkpoints: step_1000/pytorch_model.bin, step_500/pytorch_model.bin; name one of them"
    with pytest.raises(CheckpointError, match=listed):
        checkpoints.find(tmp_path)


def test_half_precision_tensors_and_odd_metadata_are_read_or_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "half.safetensors"
    save_file({"weight": torch.ones(2, dtype=torch.bfloat16)}, path)
    assert checkpoints.read(path).state["weight"].dtype == torch.bfloat16
    for odd, message in (("{", "that is no JSON"), ("[]", "that is no dictionary")):
        save_file({"weight": torch.ones(2)}, path, {"config": odd})
        with pytest.raises(CheckpointError, match=message):
            checkpoints.read(path)


class Twisted:
    """Unpickling this calls whatever it is given: the names of a network of EDM, with other arguments."""

    def __init__(self, call, *args):
        self.call = (call, args)

    def __reduce__(self):
        return self.call


def test_a_pickle_that_names_anything_else_is_refused_and_nothing_runs(tmp_path, network, edm_names, target):
    path = write_edm(tmp_path / "evil.pkl", network, edm_names, more=Evil(target))
    with pytest.raises(CheckpointError, match=r"evil.pkl is refused: it names (posix|nt).system, which no network"):
        checkpoints.read(path)
    for call, args in ((getattr, ("", "join")), (eval, ("1",)), (os.getenv, ("HOME",)), (OrderedDict.fromkeys, ("a",))):
        path.write_bytes(pickle.dumps({"ema": Twisted(call, *args)}))
        with pytest.raises(CheckpointError, match="is refused: it names"):
            checkpoints.read(path)


def test_the_bytes_of_a_tensor_inside_a_pickle_cannot_run_either(tmp_path, network, edm_names, target):
    inner = pickle.dumps(Evil(target), protocol=2)  # as torch writes
    storage = Twisted(torch.storage._load_from_bytes, inner)
    tensor = Twisted(torch._utils._rebuild_tensor_v2, storage, 0, (1,), (1,), False, OrderedDict())
    network._buffers["evil"] = tensor
    try:
        path = write_edm(tmp_path / "evil.pkl", network, edm_names)
    finally:
        del network._buffers["evil"]
    with pytest.raises(CheckpointError, match=r"evil.pkl is refused \(UnpicklingError\)"):
        checkpoints.read(path)


def test_a_tensor_that_reaches_outside_its_values_is_refused(tmp_path, network, edm_names):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inner = torch.ones(2).storage().__reduce__()[1][0]
    tensor = Twisted(torch._utils._rebuild_tensor_v2, Twisted(torch.storage._load_from_bytes, inner), 1, (9,), (1,))
    network._buffers["outside"] = tensor
    try:
        path = write_edm(tmp_path / "outside.pkl", network, edm_names)
    finally:
        del network._buffers["outside"]
    with pytest.raises(CheckpointError, match=r"outside.pkl is refused \(RuntimeError\)"):
        checkpoints.read(path)


def test_what_a_pickle_does_to_its_stand_ins_ends_with_the_reading(tmp_path, edm_pickle):
    """BUILD on a class would set its attributes: here they belong to this reading alone, and it is refused."""
    opcodes = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n(N}(Vmaker\nVspoilt\nutb."
    path = tmp_path / "spoil.pkl"
    path.write_bytes(opcodes)
    with pytest.raises(CheckpointError, match="is refused"):
        checkpoints.read(path)
    path.write_bytes(b"ccollections\nOrderedDict\n(N}(Vclear\nNutb.")
    with pytest.raises(CheckpointError, match="is refused"):
        checkpoints.read(path)
    assert OrderedDict.clear is not None
    assert checkpoints.read(edm_pickle).settings["sigma_data"] == 0.25


def test_references_out_of_a_pickle_and_endless_nesting_are_refused(tmp_path, edm_pickle):
    path = tmp_path / "odd.pkl"
    path.write_bytes(b"Pstorage\n.")
    with pytest.raises(CheckpointError, match="refers to objects outside itself"):
        checkpoints.read(path)
    # A container whose state holds itself: memo 0 is the module, put into its own `_modules`.
    path.write_bytes(b"ctorch.nn.modules.container\nModuleDict\n)Rq\x00}(V_modules\n}(Vself\nh\x00uub.")
    with pytest.raises(CheckpointError, match="nested deeper than"):
        checkpoints.read(path)


def test_a_config_that_the_network_does_not_take_is_named(tmp_path, network):
    path = tmp_path / "g.safetensors"
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    files.write_tensors(path, arrays, {"config": json.dumps({"colour": 1})})
    with pytest.raises(
        CheckpointError, match="config holds 'colour', which EDMPrecond does not take; it takes img_res"
    ):
        load_generator(path)
