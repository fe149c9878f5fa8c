import pytest
import torch
from torch import nn

from kdbench import methods
from kdbench.methods.contract import Network, Stage
from kdbench.methods.testing import batch_of, outputs_of

LOGITS = torch.zeros(1, 2)


def test_flow_from_stem_to_stage_by_hand() -> None:
    """Student G = 1 · 2 at every place, teacher G = 3 · 4: β (2 − 12)², nothing else in the first stage."""
    student = outputs_of(LOGITS, features=(torch.ones(1, 1, 2, 3), torch.full((1, 1, 2, 3), 2.0)))
    teacher = outputs_of(LOGITS, features=(torch.full((1, 1, 5, 5), 3.0), torch.full((1, 1, 5, 5), 4.0)))
    connectors = nn.ModuleList([nn.Identity(), nn.Identity()])
    batch = batch_of(student, teacher, stage="flow", connectors=connectors)
    terms = methods.make("fsp", {"beta": 0.5}).losses(batch)
    assert terms.keys() == {"flow"}
    assert terms["flow"].item() == pytest.approx(50.0)


def test_the_second_stage_is_hinton() -> None:
    batch = batch_of(outputs_of(torch.randn(3, 5)), outputs_of(torch.randn(3, 5)))
    assert methods.make("fsp").losses(batch) == methods.make("hinton").losses(batch)
    stages = methods.make("fsp", {"init_share": 0.3, "init_lr": 0.02}).stages()
    assert stages == (Stage("flow", 0.3, 0.02), Stage("distil", 0.7))


def test_connectors_where_channels_differ_only() -> None:
    student = Network("s", 3, ((4, 8, 8), (4, 8, 8), (8, 4, 4)), (), 7)
    teacher = Network("t", 3, ((4, 8, 8), (5, 8, 8), (9, 4, 4)), (), 7)
    connectors = methods.make("fsp").build(student, teacher)
    assert connectors is not None
    assert [len(list(connector.parameters())) for connector in connectors.children()] == [0, 3, 3]
    assert methods.check("fsp", student, teacher) is None
