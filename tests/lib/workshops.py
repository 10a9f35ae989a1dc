"""A workshop in a copy of a tiny project, with searches for noise cut short."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from modescope import params
from modescope.making import Workshop


def workshop_in(copy: Path, project: Path) -> Workshop:
    """`copy`: a folder that is not there yet."""
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns("made"))
    path = copy / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["inversion"] |= {"steps": 3, "starts": 1}
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return Workshop(copy, params.load(path))
