"""The layout of `data/`: sharded, memory-mapped rows with their sample table; a manifest, written last, marks completeness.

<folder>/manifest.json      kind, config and its hash, rows, arrays (shape, dtype), shards (file, rows, sha256)
<folder>/samples.parquet    one line per row: sample_id, class_id, ...
<folder>/<array>/00000.npy  rows of one array; arrays are `images` or layer names

Work that takes long goes through `Shards`: finished shards outlive a kill, a change of mind and a comment edit, and the
folder above holds further names of the same files (or, where asked, only the manifest).
"""

from __future__ import annotations

from modescope.store.made import list_made, read_made, write_made
from modescope.store.maps import read_map, write_map
from modescope.store.rows import (
    Activations,
    FeatureRows,
    Images,
    Rows,
    check_same_view,
    open_activations,
    open_stored_images,
)
from modescope.store.shards import Shards, prune
from modescope.store.writing import COLUMNS, VERSION, config_hash, sample_table, write_rows

__all__ = [
    "COLUMNS",
    "VERSION",
    "Activations",
    "FeatureRows",
    "Images",
    "Rows",
    "Shards",
    "check_same_view",
    "config_hash",
    "list_made",
    "open_activations",
    "open_stored_images",
    "prune",
    "read_made",
    "read_map",
    "sample_table",
    "write_made",
    "write_map",
    "write_rows",
]
