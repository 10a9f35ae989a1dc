"""Shared test set-up: shapes in signatures are checked while the tests run."""

from __future__ import annotations

import os
import secrets

from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# The numeric tower: an int is a fine float, as everywhere in Python.
install_import_hook("modescope", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

# Ray reads these when it is imported: its clusters hear this test run alone, leave no secret in the home folder, tell nobody.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}

settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # on a busy machine too
settings.load_profile("untimed")
