"""Random orders that stay the same for ever: on every machine, in every process, under every numpy."""

import numpy as np
from numpy.typing import NDArray


def ranks_within_class(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Each sample's place (from 0) in a random order of its own class.

    Made from the raw stream of PCG64, which numpy promises never to change (its shuffles come without that
    promise).
    """
    scores = np.random.PCG64(seed).random_raw(len(labels))
    order = np.lexsort((scores, labels))
    sorted_labels = labels[order]
    starts = np.flatnonzero(np.r_[True, sorted_labels[1:] != sorted_labels[:-1]]) if len(labels) else order
    sizes = np.diff(np.r_[starts, len(labels)])
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - np.repeat(starts, sizes)
    return ranks


def share_of_class(labels: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """For each sample, how many of its class `share` of that class is, rounded half up."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    taken = np.floor(share * counts + 0.5).astype(np.int64)
    return np.asarray(taken[inverse], dtype=np.int64)
