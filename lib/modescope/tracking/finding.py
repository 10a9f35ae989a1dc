"""Where a result's run is, for links to it. Reads the database directly: mlflow is slow, and whoever asks only looks."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


def runs(database: Path) -> dict[str, tuple[str, str]]:
    """Newest finished run of each name (`<view>/<generator>`) => its experiment and its own id; empty where there is no
    database, or one that cannot be read."""
    if not database.is_file():
        return {}
    query = (
        "SELECT name, experiment_id, run_uuid FROM runs WHERE lifecycle_stage = 'active' AND status = 'FINISHED' "
        "ORDER BY start_time"
    )
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1)) as connection:
            return {str(name): (str(experiment), str(run)) for name, experiment, run in connection.execute(query)}
    except sqlite3.Error:
        return {}
