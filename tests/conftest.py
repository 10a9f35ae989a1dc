"""Shared test set-up: shapes in signatures are checked while the tests run."""

from __future__ import annotations

from jaxtyping import install_import_hook

# The numeric tower: an int is a fine float, as everywhere in Python.
install_import_hook("modescope", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
