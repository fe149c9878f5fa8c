import math

import pytest
import torch

from kdbench import methods
from kdbench.methods.testing import batch_of, outputs_of


def test_cross_entropy_by_hand() -> None:
    """Logits (0, ln 3): probabilities 1/4 and 3/4."""
    student = outputs_of(torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]]))
    terms = methods.make("original").losses(batch_of(student, labels=torch.tensor([0, 1])))
    assert terms.keys() == {"hard"}
    assert terms["hard"].item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


def test_it_needs_no_teacher_and_has_nothing_to_search() -> None:
    assert methods.get("original").teacher == "none"
    assert methods.hyperparameters("original") == {}
