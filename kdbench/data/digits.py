"""The embedded data set: 1,797 real handwritten digits of 8x8 pixels, from scikit-learn.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kdbench.data.images import Images
from kdbench.data.order import ranks_within_class, share_of_class
from kdbench.data.source import Part
from kdbench.data.spec import DatasetSpec
from kdbench.seeds import derive

TEST_SHARE = 0.2
_TEST_SEED = derive(0, "digits", "test")  # of no suite: this test split is fixed for ever


@dataclass(frozen=True)
class Digits:
    """A Source; its test split is a stratified fifth, the same in every suite."""

    spec: DatasetSpec

    def read(self, part: Part) -> Images:
        """All images of one split, as 8-bit greys."""
        from sklearn.datasets import load_digits  # a second of imports that other data sets need not pay

        pixels, labels = load_digits(return_X_y=True)  # pixels count ink, 0 to 16
        images = np.rint(pixels.reshape(-1, 1, 8, 8) * 255 / 16).astype(np.uint8)
        labels = labels.astype(np.int64)
        in_test = ranks_within_class(labels, _TEST_SEED) < share_of_class(labels, TEST_SHARE)
        chosen = in_test if part == "test" else ~in_test
        return Images(torch.from_numpy(images[chosen]), torch.from_numpy(labels[chosen]))

    def classes(self) -> tuple[str, ...]:
        """The digits."""
        return tuple("0123456789")

    def files(self) -> list[Path]:
        """None: the images come with scikit-learn."""
        return []

    def note(self) -> str:
        """Nothing to say."""
        return ""
