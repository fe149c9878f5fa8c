import pytest
import torch
from torch import Tensor, nn

from kdbench import data, models
from kdbench.data import Facts, TrainingData
from kdbench.models import Outputs
from kdbench.training import inputs
from kdbench.training.inputs import Feed, Pixels, Views, ask, plan_views

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("augment", "views", "expected"),
    [
        ("auto", "auto", Views("shift", 1, fixed=0, remember=False)),
        ("none", "auto", Views("none", 1, fixed=0, remember=True)),
        ("crop", "none", Views("none", 1, fixed=0, remember=True)),
        ("crop", "live", Views("crop", 1, fixed=0, remember=False)),
        ("none", "live", Views("none", 1, fixed=0, remember=False)),
        ("shift", 3, Views("shift", 1, fixed=3, remember=True)),
        ("none", 3, Views("none", 1, fixed=0, remember=True)),
    ],
)
def test_views_with_a_teacher(facts: Facts, augment: str, views: str | int, expected: Views) -> None:
    assert plan_views(augment, facts, views, taught=True) == expected


@pytest.mark.parametrize("views", ["auto", "none", "live", 3])
def test_views_say_nothing_without_a_teacher(facts: Facts, views: str | int) -> None:
    assert plan_views("auto", facts, views, taught=False) == Views("shift", 1, fixed=0, remember=False)


class Counting(nn.Module):
    """Counts the images that its network is shown."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.images = network, 0

    def forward(self, images: Tensor) -> Outputs:
        self.images += len(images)
        outputs: Outputs = self.network(images)
        return outputs


def _feed(
    digits: TrainingData, facts: Facts, teacher: nn.Module | None, augment: str, views: str | int
) -> Feed:
    pixels = Pixels(facts, CPU)
    planned = plan_views(augment, facts, views, taught=teacher is not None)
    return Feed(digits.train, pixels, planned, teacher, seed=3)


def _draw(feed: Feed, seed: int) -> tuple[Tensor, Tensor, Outputs | None]:
    return feed.batch(torch.arange(40), torch.Generator().manual_seed(seed))


def test_live_outputs_are_of_the_very_images(digits: TrainingData, facts: Facts, teacher: nn.Module) -> None:
    counting = Counting(teacher.eval())
    feed = _feed(digits, facts, counting, "shift", "auto")
    assert counting.images == 0
    images, labels, outputs = _draw(feed, 1)
    assert counting.images == 40
    assert outputs is not None
    assert torch.equal(outputs.logits, ask(teacher, images).logits)
    assert not outputs.logits.requires_grad
    assert torch.equal(labels, digits.train.labels[:40])
    assert not torch.equal(images, _draw(feed, 2)[0])
    assert torch.equal(images, _draw(feed, 1)[0])


@pytest.mark.parametrize("limit", [0, 2**40])
def test_remembered_outputs_agree_with_asking(
    digits: TrainingData, facts: Facts, teacher: nn.Module, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """With room for everything the teacher is asked once; with none, again for whatever lies deeper."""
    monkeypatch.setattr(inputs, "REMEMBERED_BYTES", limit)
    counting = Counting(teacher.eval())
    feed = _feed(digits, facts, counting, "none", "auto")
    assert counting.images == len(digits.train)
    images, _, outputs = _draw(feed, 1)
    assert outputs is not None
    fresh = ask(teacher, images)
    torch.testing.assert_close(outputs.logits, fresh.logits)
    assert counting.images == len(digits.train)
    torch.testing.assert_close(outputs.embedding, fresh.embedding)
    torch.testing.assert_close(outputs.features, fresh.features)
    torch.testing.assert_close(outputs.preacts, fresh.preacts)
    assert outputs.exits == ()
    assert counting.images == len(digits.train) + (0 if limit else 40), "asked again at most once"


def test_fixed_views_come_from_k_variants(digits: TrainingData, facts: Facts, teacher: nn.Module) -> None:
    counting = Counting(teacher.eval())
    feed = _feed(digits, facts, counting, "shift", 2)
    assert counting.images == 2 * len(digits.train)
    seen = [set(), set(), set()]
    for seed in range(12):
        images, _, outputs = _draw(feed, seed)
        assert outputs is not None
        torch.testing.assert_close(outputs.logits, ask(teacher, images).logits)
        for index in range(3):
            seen[index].add(images[index].numpy().tobytes())
    assert max(len(variants) for variants in seen) == 2
    plain = data.normalise(digits.train.images[:40], facts.mean, facts.std)
    assert not torch.equal(_draw(feed, 0)[0], plain)


def test_a_lazy_answer_has_no_other_attributes(teacher: nn.Module) -> None:
    lazy = inputs.LazyOutputs(torch.zeros(1, 10), lambda: ask(teacher.eval(), torch.zeros(1, 1, 8, 8)))
    with pytest.raises(AttributeError):
        lazy.nonsense  # noqa: B018


def test_renormalised_pixels(facts: Facts) -> None:
    pixels = Pixels(facts, CPU)
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    low, high = pixels.range
    torch.testing.assert_close(pixels(images).flatten(), torch.cat([low.flatten(), high.flatten()]))


def test_networks_for_images_of_any_kind_are_fed(facts: Facts) -> None:
    model = models.build("mlp-8x2", shape=facts.shape, classes=10, seed=0)
    assert ask(model.eval(), torch.zeros(3, *facts.shape)).logits.shape == (3, 10)
