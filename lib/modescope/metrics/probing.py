"""Inception Score and class fidelity from a probe: a classifier fitted on the real features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from modescope import seeds
from modescope.metrics.manifolds import check_labels, paired
from modescope.neighbours import Features, as_points


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A fitted classifier, and how well it does on real samples that it did not see (`held_out`, rows)."""

    classifier: Any
    classes: Shaped[np.ndarray, " C"]
    held_out: Int64[np.ndarray, " H"]
    accuracy: float

    def probabilities(self, features: Features) -> Float64[np.ndarray, "N C"]:
        return self.classifier.predict_proba(_array(features)).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeScores:
    """Of generated samples, each beside what the held-out real ones score.

    `inception_score` lies between 1 and the number of classes. `fidelity` is the share of samples that the probe puts
    in the class they were generated for; the probe's own `accuracy` on held-out real samples bounds what it can say.
    """

    inception_score: float
    standard_error: float
    real_inception_score: float
    fidelity: float
    accuracy: float
    fidelity_by_class: dict[int | str, float]  # of the classes that have generated samples
    accuracy_by_class: dict[int | str, float]  # of the classes that have held-out samples


def fit_probe(
    real: Features,
    labels: Shaped[np.ndarray, " N"],
    *,
    seed: int,
    held_out: float = 0.25,
    classifier: Any | None = None,
) -> Probe:
    """A classifier of real samples, fitted on all but a share `held_out` of each class.

    Without `classifier` (any scikit-learn one with `predict_proba`) it is logistic regression on standardised features.
    ValueError below 2 classes, or for a class too small to give a sample to both sides.
    """
    points = _array(real)
    check_labels(labels, len(points), "labels")
    aside = _held_out(labels, held_out, seed)
    model = _logistic_regression() if classifier is None else classifier
    model.fit(points[~aside], labels[~aside])
    accuracy = float((model.predict(points[aside]) == labels[aside]).mean())
    return Probe(classifier=model, classes=model.classes_, held_out=np.flatnonzero(aside), accuracy=accuracy)


def _logistic_regression() -> Any:
    from sklearn.linear_model import LogisticRegression  # slow to import, and not all need it
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _array(features: Features) -> np.ndarray:
    return as_points(features, "features").cpu().numpy()


def _held_out(labels: Shaped[np.ndarray, " N"], share: float, seed: int) -> Bool[np.ndarray, " N"]:
    classes, counts = np.unique(labels, return_counts=True)
    if not 0 < share < 1 or len(classes) < 2 or counts.min() < 2:
        raise ValueError(
            f"held_out = {share} of {len(classes)} classes, the smallest of {counts.min()} samples: a probe needs a share "
            "between 0 and 1, two classes and 2 samples in each: leave small classes out"
        )
    aside = np.zeros(len(labels), bool)
    stream = seeds.stream(seed, "probe")
    for label, count in zip(classes, counts, strict=True):
        size = min(max(1, round(share * count)), count - 1)
        aside[stream.permutation(np.flatnonzero(labels == label))[:size]] = True
    return aside


def probe_scores(
    probe: Probe,
    real: Features,
    fake: Features,
    real_labels: Shaped[np.ndarray, " N"],
    fake_labels: Shaped[np.ndarray, " M"],
) -> ProbeScores:
    """Inception Score and class fidelity of `fake`; `real` and its labels are those that the probe was fitted on."""
    x, y = paired(real, fake)
    check_labels(real_labels, len(x), "real_labels")
    check_labels(fake_labels, len(y), "fake_labels")
    aside = real_labels[probe.held_out]
    own, across = probe.probabilities(x[probe.held_out]), probe.probabilities(y)
    right_own, right_across = (
        probe.classes[p.argmax(axis=1)] == labels for p, labels in ((own, aside), (across, fake_labels))
    )
    score, error = inception_score(across)
    return ProbeScores(
        inception_score=score,
        standard_error=error,
        real_inception_score=inception_score(own)[0],
        fidelity=float(right_across.mean()),
        accuracy=float(right_own.mean()),
        fidelity_by_class=_by_class(fake_labels, right_across),
        accuracy_by_class=_by_class(aside, right_own),
    )


def _by_class(labels: Shaped[np.ndarray, " R"], right: Bool[np.ndarray, " R"]) -> dict[int | str, float]:
    names, codes = np.unique(labels, return_inverse=True)
    means = np.bincount(codes, right) / np.bincount(codes)
    return dict(zip(names.tolist(), means.tolist(), strict=True))


def inception_score(probabilities: Float64[np.ndarray, "N C"]) -> tuple[float, float]:
    """exp(mean_i KL(p_i | mean p)) and its standard error (Salimans et al. 2016), over all samples at once.

    The error comes from the influence of each sample on the logarithm, which is its own divergence.
    """
    marginal = probabilities.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(probabilities > 0, probabilities * np.log(probabilities / marginal), 0)
    divergence = terms.sum(axis=1)
    value = float(np.exp(divergence.mean()))
    return value, float(value * divergence.std() / len(divergence) ** 0.5)
