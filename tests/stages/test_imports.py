"""What a stage need not wait for: every stage is a process of its own, and each pays for what it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOAD = (
    "from modescope.generators import load_generator; load_generator('data/checkpoints/dmd2.safetensors', device='cpu')"
)


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import stages.prepare", "torch"),
        ("import stages.track", "mlflow"),
        (LOAD, "torch._dynamo"),  # the compiler, two seconds, in every stage that runs a network
    ],
)
def test_what_takes_seconds_to_import_is_imported_by_those_who_need_it(code: str, unwanted: str) -> None:
    asked = f"{code}; import sys; sys.exit({unwanted!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or f"{unwanted} is imported"
