"""Shared test set-up: shapes in signatures are checked while the tests run."""

from __future__ import annotations

from jaxtyping import install_import_hook

install_import_hook("modescope", "beartype.beartype")
