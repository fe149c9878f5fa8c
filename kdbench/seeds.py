"""The one place where randomness begins: every seed in kdbench is derived here from a suite's root seed."""

import hashlib

from kdbench.keys import canonical_json

Label = str | int | float


def derive(root: int, *labels: Label) -> int:
    """Seed for the thing that `labels` name, under the root seed of a suite.

    Equal arguments give equal seeds in every process and on every machine; any other label gives an unrelated
    seed. A float and an int of equal value are different labels (`1.0` is not `1`).

    Returns an int in [0, 2**32), which every generator in use (torch, numpy, scikit-learn, Optuna) accepts.
    """
    digest = hashlib.sha256(canonical_json([root, *labels]).encode()).digest()
    return int.from_bytes(digest[:4], "big")
