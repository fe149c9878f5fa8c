"""The embedded data set: 1,797 real handwritten digits of 8x8 pixels, from scikit-learn.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part).
"""

from dataclasses import dataclass
from importlib.util import find_spec
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
        table = np.loadtxt(_file(), delimiter=",")  # 64 pixels, which count ink from 0 to 16, and the digit
        images = np.rint(table[:, :-1].reshape(-1, 1, 8, 8) * 255 / 16).astype(np.uint8)
        labels = table[:, -1].astype(np.int64)
        in_test = ranks_within_class(labels, _TEST_SEED) < share_of_class(labels, TEST_SHARE)
        chosen = in_test if part == "test" else ~in_test
        return Images(torch.from_numpy(images[chosen]), torch.from_numpy(labels[chosen]))

    def classes(self) -> tuple[str, ...]:
        """The digits."""
        return tuple("0123456789")

    def files(self) -> list[Path]:
        """The file that comes with scikit-learn."""
        return [_file()]

    def note(self) -> str:
        """Nothing to say."""
        return ""


def _file() -> Path:
    """What `sklearn.datasets.load_digits` reads; that import would take longer than importing torch."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise FileNotFoundError("scikit-learn, which brings the digits, is not installed")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
