import math

import pytest
import torch

from kdbench import methods
from kdbench.losses import self_distillation
from kdbench.methods.contract import Network
from kdbench.methods.testing import batch_of, outputs_of
from kdbench.models.outputs import Exit

LN3 = math.log(3)


def test_two_exits_by_hand() -> None:
    """Shallow: p = ½, ½ and feature (1, 1); deepest: p = ¾, ¼ at T = 1 and feature (3, 1); label 0."""
    shallow = Exit(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
    deepest = Exit(torch.tensor([[LN3, 0.0]]), torch.tensor([[3.0, 1.0]]))
    batch = batch_of(outputs_of(deepest.logits, exits=(shallow, deepest)))
    terms = methods.make("byot", {"alpha": 0.25, "lambda_": 0.5, "temperature": 1.0}).losses(batch)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {
            "hard": math.log(4 / 3),
            "exit_label": 0.75 * math.log(2),
            "exit_soft": 0.25 * math.log(2),  # cross-entropy with anything where the prediction is ½, ½
            "exit_feature": 0.5 * 4,
        }
    )


def test_the_terms_are_all_of_self_distillation() -> None:
    exits = tuple(Exit(torch.randn(3, 5), torch.randn(3, 4)) for _ in range(3))
    labels = torch.tensor([0, 2, 4])
    terms = methods.make("byot").losses(batch_of(outputs_of(exits[-1].logits, exits=exits), labels=labels))
    whole = self_distillation(
        [each.logits for each in exits], [each.feature for each in exits], labels, 0.3, 1e-4, 3.0
    )
    torch.testing.assert_close(torch.stack(list(terms.values())).sum(), whole["total"])


def test_a_network_with_one_stage_has_no_place_for_exits() -> None:
    one = Network("one", 3, ((4, 8, 8),) * 2, ((4, 8, 8),), 7)
    two = Network("two", 3, ((4, 8, 8),) * 3, ((4, 8, 8),) * 2, 7)
    assert methods.check("byot", one, None) == "it needs at least two stages to put exits on; missing in one"
    assert methods.check("byot", two, None) is None
    assert methods.get("byot").teacher == "none"
