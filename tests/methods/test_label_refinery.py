import math

import pytest
import torch

from kdbench import methods
from kdbench.methods.testing import batch_of, outputs_of


def test_the_refinerys_labels_alone_by_hand() -> None:
    student = outputs_of(torch.tensor([[math.log(3), 0.0]]))
    teacher = outputs_of(torch.zeros(1, 2))
    terms = methods.make("label-refinery").losses(batch_of(student, teacher))
    assert terms.keys() == {"soft"}
    assert terms["soft"].item() == pytest.approx(1 / 2 * math.log(2 / 3) + 1 / 2 * math.log(2))


def test_what_is_declared() -> None:
    method = methods.get("label-refinery")
    assert (method.teacher, method.fixed) == ("self", ("generations",))
    assert methods.hyperparameters("label-refinery")["generations"].default == 2
