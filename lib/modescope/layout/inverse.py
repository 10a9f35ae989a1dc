"""umap-learn's own inverse, on a model rebuilt from arrays. It is imported on first use: that takes seconds."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float

from modescope.layout.arranging import Layout


def umap_inverse(
    layout: Layout, scores: Float[np.ndarray, "N P"], points: Float[np.ndarray, "M E"], *, metric: str, seed: int
) -> Float[np.ndarray, "M P"]:
    """umap-learn's `inverse_transform`: scores of map points inside the convex hull.

    Slow (a second or more per call: it triangulates the map and walks the triangles in Python), and a row depends on
    its batch.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)  # for a variant not used here
        from umap import UMAP
    model = UMAP(
        metric=metric,
        a=layout.a,
        b=layout.b,
        n_components=layout.embedding.shape[1],
        random_state=seed,
        transform_seed=seed,
        n_jobs=1,
    )
    model._raw_data = np.ascontiguousarray(scores, np.float32)
    model._a, model._b, model._initial_alpha = layout.a, layout.b, model.learning_rate
    model.knn_indices = model.knn_dists = model.knn_search_index = None
    model._validate_parameters()
    model.embedding_, model._sigmas, model._rhos = layout.embedding, layout.sigmas, layout.rhos
    return np.asarray(model.inverse_transform(np.ascontiguousarray(points, np.float32)), np.float32)
