import pytest
import torch

from kdbench import methods
from kdbench.methods.contract import Network
from kdbench.methods.testing import batch_of, outputs_of


def test_attention_of_the_stages_by_hand() -> None:
    """Channels (3, 4) and (0, 0) in two places: Q = (1, 0); against (0, 1) the squared error is (1 + 1) / 2.

    The stem is left out: there the maps differ too.
    """
    here = torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])  # (1, 2, 1, 2)
    there = here.flip(3)
    student = outputs_of(torch.zeros(1, 2), features=(here, here, here))
    teacher = outputs_of(torch.zeros(1, 2), features=(there, there, here))
    terms = methods.make("at", {"beta": 10.0}).losses(batch_of(student, teacher))
    assert terms.keys() == {"hard", "soft", "attention"}
    assert terms["attention"].item() == pytest.approx(10.0)


def network(stages: int, shape: tuple[int, ...]) -> Network:
    return Network(f"net{stages}", 3, (shape,) * (stages + 1), (shape,) * stages, 7)


def test_which_pairs_it_refuses() -> None:
    three, four, vectors = network(3, (5, 4, 4)), network(4, (5, 4, 4)), network(3, (5,))
    assert methods.check("at", three, three) is None
    assert "net3 has 3, net4 4" in (methods.check("at", three, four) or "")
    assert "needs feature maps" in (methods.check("at", vectors, three) or "")
    assert "needs a teacher" in (methods.check("at", three, None) or "")
