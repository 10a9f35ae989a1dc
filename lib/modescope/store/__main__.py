"""`python -m modescope.store`: remove finished shards that no manifest in data/ refers to any more, and say what went."""

from __future__ import annotations

import sys
from pathlib import Path

from modescope import files, store


def main(data: Path = Path("data")) -> None:
    shards = data / "shards"
    if not shards.is_dir():
        sys.exit(f"{shards} is not there; run this in the repository root, after `dvc repro`")
    manifests = [files.read_json(path) for path in sorted(data.rglob("manifest.json")) if shards not in path.parents]
    used = {manifest["shards_of"] for manifest in manifests if "shards_of" in manifest}
    sizes = {folder: sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) for folder in shards.iterdir()}
    removed = store.prune(shards, used)
    for folder in removed:
        print(f"removed {folder}: {sizes[folder] / 1e6:.1f} MB")  # noqa: T201 - the output is the product
    print(f"{len(removed)} configurations removed, {len(used)} in use")  # noqa: T201


if __name__ == "__main__":
    main()
