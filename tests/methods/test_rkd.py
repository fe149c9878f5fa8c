import math

import pytest
import torch

from kdbench import methods
from kdbench.methods.testing import batch_of, outputs_of

# A right isosceles triangle against an equilateral one, both with the right angle or apex first.
STUDENT = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
TEACHER = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, math.sqrt(3)]])

UNIT = (2 + math.sqrt(2)) / 3  # mean of the student's distances 1, 1, √2
# Pairs: each of the three distances stands twice among the nine entries; the teacher's are all 1.
DISTANCE = 2 * (2 * (1 / UNIT - 1) ** 2 / 2 + (math.sqrt(2) / UNIT - 1) ** 2 / 2) / 9
# Cosines: at the right angle 0, at the other two 1/√2, against 1/2 everywhere, each twice (i, k and k, i);
# the cosine of an edge with itself (i = k) is 1 in both.
ANGLE = 2 * (0.5**2 / 2 + 2 * (math.sqrt(0.5) - 0.5) ** 2 / 2) / 27


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("rkd", {"distance": 2 * DISTANCE, "angle": 3 * ANGLE}),
        ("rkd-d", {"distance": 2 * DISTANCE}),
        ("rkd-a", {"angle": 3 * ANGLE}),
    ],
)
def test_relations_of_triangles_by_hand(label: str, expected: dict[str, float]) -> None:
    given = {"lambda_distance": 2.0, "lambda_angle": 3.0}
    values = {name: value for name, value in given.items() if name in methods.hyperparameters(label)}
    logits = torch.zeros(3, 2)
    batch = batch_of(outputs_of(logits, embedding=STUDENT), outputs_of(logits, embedding=TEACHER))
    terms = methods.make(label, values).losses(batch)
    assert terms.keys() == {"hard", "soft"} | expected.keys()
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-5)


def test_labels_alone_are_the_published_setting() -> None:
    assert methods.get("rkd").published == {"alpha": 0.0}
