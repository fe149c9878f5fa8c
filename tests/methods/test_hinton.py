import math

import pytest
import torch

from kdbench import methods
from kdbench.methods.testing import batch_of, outputs_of

# At T = 2 the student's softened probabilities are 1/2, 1/2 and the teacher's 3/4, 1/4.
STUDENT = outputs_of(torch.zeros(1, 2))
TEACHER = outputs_of(torch.tensor([[2 * math.log(3), 0.0]]))
KL = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)


def test_terms_by_hand() -> None:
    method = methods.make("hinton", {"temperature": 2.0, "alpha": 0.3})
    terms = method.losses(batch_of(STUDENT, TEACHER))
    assert terms.keys() == {"hard", "soft"}
    assert terms["hard"].item() == pytest.approx(0.7 * math.log(2))
    assert terms["soft"].item() == pytest.approx(0.3 * 4 * KL)


def test_defaults() -> None:
    found = {name: item.default for name, item in methods.hyperparameters("hinton").items()}
    assert found == {"temperature": 4.0, "alpha": 0.9}


def test_a_batch_without_a_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a teacher"):
        methods.make("hinton").losses(batch_of(STUDENT))
