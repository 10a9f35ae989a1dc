"""The repository holds its own rules: floors, dependencies, parameters, README."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from modescope import params

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[!_]*.py"))


def body(name):
    """The templated part of a stage of dvc.yaml."""
    return PIPELINE[name].get("do", PIPELINE[name])


def script(name):
    return re.match(r"python -m stages\.(\w+)", body(name)["cmd"])[1]


def sources(unit):
    """Files of a module or package of the repository, given as its path."""
    path = ROOT / unit
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def imported(path):
    """Modules of this repository that a file imports anywhere, also inside functions, as paths."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    units = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "stages":
            units |= {"stages/__init__.py", *(p for p in [f"stages/{parts[-1]}.py"] if (ROOT / p).exists())}
        elif parts[0] == "modescope" and len(parts) > 1:
            place = f"lib/modescope/{parts[1]}"
            units |= {p for p in (place, f"{place}.py") if (ROOT / p).exists()}
    return units


def closure(stage):
    """Everything of this repository that a stage runs: its file, and what that imports, directly or not."""
    found, waiting = set(), [f"stages/{stage}.py"]
    while waiting:
        unit = waiting.pop()
        if unit not in found:
            found.add(unit)
            waiting += [u for path in sources(unit) for u in imported(path)]
    return found


@pytest.mark.parametrize("name", [name for name in PIPELINE if name != "train"])
def test_the_code_that_a_stage_depends_on_is_what_it_imports(name):
    """`train` is frozen: its provenance holds the hashes of the code that it ran."""
    declared = {dep for dep in body(name)["deps"] if dep.startswith(("lib/", "stages/"))}
    assert declared == closure(script(name))


def test_every_stage_file_has_a_stage_of_its_name_and_every_stage_its_file():
    assert {script(name) for name in PIPELINE} == set(STAGES)
    assert set(STAGES) <= set(PIPELINE)


@pytest.mark.parametrize("stage", STAGES)
def test_stages_only_define_functions_and_end_with_the_guard(stage):
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8"))
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Assign, ast.Expr, ast.If)
    assert all(isinstance(node, allowed) for node in tree.body)
    assert isinstance(tree.body[-1], ast.If)
    assert "__main__" in ast.unparse(tree.body[-1].test)


def leaves(model, prefix=""):
    for name, info in model.model_fields.items():
        kinds = [info.annotation, *getattr(info.annotation, "__args__", ())]
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        yield from leaves(inner[0], f"{prefix}{name}.") if inner else [f"{prefix}{name}"]


def test_every_parameter_is_used_somewhere():
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("stages", "dashboards", "lib")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "params.py"
    )
    unpacked = {"reducer", "training.network"}  # handed on whole, as keyword arguments
    unused = [
        leaf
        for leaf in leaves(params.Params)
        if leaf.rpartition(".")[0] not in unpacked and not re.search(rf"\.{leaf.rpartition('.')[2]}\b", code)
    ]
    assert unused == []
    assert "params.reducer.of(" in code
    assert "params.training.network.model_dump()" in code


def test_every_section_of_params_yaml_reaches_a_stage_of_the_pipeline():
    watched = {re.split(r"[.]", key)[0] for name in PIPELINE for key in body(name).get("params", [])}
    assert watched == set(params.Params.model_fields)


def test_floors_hold():
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_mlflow_is_imported_by_tracking_alone():
    importers = [
        path.relative_to(ROOT).as_posix()
        for folder in ("lib", "stages", "dashboards")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(import mlflow|from mlflow)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importers == ["lib/modescope/tracking/__init__.py"]


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def dvc_hash(path):
    """The hash that DVC gives a file, or a folder less what .dvcignore leaves out."""
    if path.is_file():
        return md5(path)
    files = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    listing = [{"md5": md5(p), "relpath": p.relative_to(path).as_posix()} for p in files]
    return md5_of(json.dumps(sorted(listing, key=lambda item: item["relpath"]), sort_keys=True)) + ".dir"


def md5_of(text):
    return hashlib.md5(text.encode()).hexdigest()


def test_dvc_lock_is_true():
    """What the lock says of committed code, parameters and results is what lies here: a fresh clone repeats nothing."""
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    committed = {part for name in tracked() for part in (name, name.rpartition("/")[0])}
    names = {name for name in lock if name.partition("@")[0] not in ("train", "track")}
    assert {name.partition("@")[0] for name in names} == set(PIPELINE) - {"train", "track"}
    stale = [
        f"{stage}: {item['path']}"
        for stage in sorted(names)
        for item in [*lock[stage].get("deps", []), *lock[stage].get("outs", [])]
        if item["path"] in committed and dvc_hash(ROOT / item["path"]) != item["md5"]
    ]
    for stage in names:
        for key, value in lock[stage].get("params", {}).get("params.yaml", {}).items():
            found = raw
            for part in key.split("."):
                found = found[part]
            stale += [f"{stage}: parameter {key}"] if found != value else []
    assert stale == []


def tracked():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def test_the_tree_in_the_readme_equals_the_files():
    """Every line of the tree exists; every module, stage, benchmark and top-level file has its line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = re.search(r"<!-- tree -->\n```\n(.*?)```", text, re.DOTALL)[1]
    listed = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.strip()}
    assert [name for name in sorted(listed) if not (ROOT / name).exists()] == []
    shown = set()
    for name in tracked():
        parts = name.split("/")
        if len(parts) == 1 or parts[0] in (".ci", "stages", "benchmarks"):
            shown.add(name)
        elif name.startswith(("lib/modescope/", "dashboards/")):
            shown.add("/".join(parts[:3]))
        else:
            shown.add(parts[0])
    hidden = {name for name in shown if name.rpartition("/")[2].startswith(("__", ".git", ".dvc"))}
    assert shown - hidden == listed


def test_nothing_that_loads_can_execute_code():
    banned = re.compile(r"\b(pickle|joblib|cloudpickle|dill)\.loads?\b|allow_pickle *= *True|weights_only *= *False")
    guilty = [
        name
        for name in tracked()
        if name.endswith(".py") and not name.startswith("tests/") and banned.search((ROOT / name).read_text("utf-8"))
    ]
    assert guilty == []


def test_no_large_file_and_no_machine_path_is_committed():
    home = re.compile(r"(?<![A-Za-z.])/(?:home|root|Users)/[A-Za-z]")
    for name in tracked():
        path = ROOT / name
        assert path.stat().st_size < 6_000_000, name
        if path.suffix in (".py", ".md", ".yaml", ".toml", ".json", ".lock", ".csv", "") and path.is_file():
            assert not home.search(path.read_text("utf-8", errors="ignore")), name
