"""To and from the folders of the original DMD2 visualizer, so that whoever has such folders keeps them.

<root>/metadata/<set>/dataset_info.json        what the set is, and one entry per sample
<root>/images/<set>/sample_000000.png          one file per sample
<root>/reconstructions/<set>/sample_000000.png denoised images, where there are some
<root>/activations/<set>/batch_000000.npz      one array (n, C*H*W) per layer; batch_000000.json says which samples
<root>/embeddings/<name>.csv                   sample_id, umap_x, umap_y (umap_z), class, ...

`export_jobs` and `import_jobs` look at everything that can be looked at beforehand and return sized jobs; a job writes
one thing, which appears when it is complete. Nothing that exists is replaced.
"""

from __future__ import annotations

from modescope.exchange.exporting import export_jobs
from modescope.exchange.importing import import_jobs
from modescope.exchange.job import Job

__all__ = ["Job", "export_jobs", "import_jobs"]
