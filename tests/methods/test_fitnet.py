import pytest
import torch
from torch import nn

from kdbench import methods
from kdbench.methods.contract import Network, Stage
from kdbench.methods.testing import batch_of, outputs_of


def maps(*values: float, size: int = 2) -> tuple[torch.Tensor, ...]:
    return tuple(torch.full((1, 1, size, size), value) for value in values)


LOGITS = torch.zeros(1, 2)


def test_the_hint_is_the_error_after_the_second_stage_by_hand() -> None:
    """Stem, stage 1, stage 2, stage 3: only stage 2 counts, 3 * (1 - 5)² with the identity as regressor."""
    student = outputs_of(LOGITS, features=maps(9.0, 9.0, 1.0, 9.0))
    teacher = outputs_of(LOGITS, features=maps(0.0, 0.0, 5.0, 0.0))
    batch = batch_of(student, teacher, stage="hint", connectors=nn.Identity())
    assert {
        name: value.item() for name, value in methods.make("fitnet", {"beta": 3}).losses(batch).items()
    } == {"hint": 48.0}
    one_stage = methods.make("fitnet-1s", {"beta": 3, "alpha": 0.5}).losses(
        batch_of(student, teacher, connectors=nn.Identity())
    )
    assert one_stage.keys() == {"hard", "soft", "hint"}
    assert one_stage["hint"].item() == 48.0


def test_a_network_with_one_stage_is_guided_at_its_last() -> None:
    student = outputs_of(LOGITS, features=maps(9.0, 1.0))
    teacher = outputs_of(LOGITS, features=maps(0.0, 0.0, 5.0))
    batch = batch_of(student, teacher, stage="hint", connectors=nn.Identity())
    assert methods.make("fitnet").losses(batch)["hint"].item() == 16.0


def test_the_larger_map_is_pooled() -> None:
    large = torch.tensor([[[[0.0, 2.0], [2.0, 4.0]]]])  # its mean is 2
    student = outputs_of(LOGITS, features=(large, large, large))
    teacher = outputs_of(LOGITS, features=maps(0.0, 0.0, 5.0, size=1))
    batch = batch_of(student, teacher, stage="hint", connectors=nn.Identity())
    assert methods.make("fitnet").losses(batch)["hint"].item() == 9.0


def test_stages() -> None:
    stages = methods.make("fitnet", {"hint_share": 0.4, "init_lr": 0.02}).stages()
    assert stages == (Stage("hint", 0.4, 0.02), Stage("distil", 0.6))
    assert [stage.name for stage in methods.make("fitnet-1s").stages()] == ["distil"]


def test_in_the_second_stage_it_is_hinton() -> None:
    student = outputs_of(torch.randn(3, 5), features=maps(1.0))
    teacher = outputs_of(torch.randn(3, 5), features=maps(1.0))
    values = {"temperature": 2.0, "alpha": 0.4}
    batch = batch_of(student, teacher)
    assert methods.make("fitnet", values).losses(batch) == methods.make("hinton", values).losses(batch)


def network(*features: tuple[int, ...]) -> Network:
    return Network("net", 3, features, features[1:], 7)


def test_the_regressor_translates_channels() -> None:
    regressor = methods.make("fitnet").build(
        network((2, 8, 8), (3, 8, 8), (4, 4, 4)), network((5, 8, 8), (6, 8, 8), (7, 4, 4))
    )
    assert regressor is not None
    assert regressor(torch.randn(2, 4, 4, 4)).shape == (2, 7, 4, 4)
    linear = methods.make("fitnet").build(network((5,), (6,)), network((8,), (9,), (10,)))
    assert linear is not None
    assert linear(torch.randn(2, 6)).shape == (2, 10)


@pytest.mark.parametrize("label", ["fitnet", "fitnet-1s"])
def test_vectors_and_maps_are_refused(label: str) -> None:
    vectors, images = network((5,), (6,)), network((5, 8, 8), (6, 8, 8))
    assert "different kinds" in (methods.check(label, vectors, images) or "")
    assert methods.check(label, vectors, vectors) is None
    assert methods.check(label, images, images) is None
