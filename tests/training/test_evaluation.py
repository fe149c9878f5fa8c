import math

import pytest
import torch
from torch import Tensor, nn

from kdbench import data, models
from kdbench.data import Facts, Images, TrainingData
from kdbench.models import Outputs
from kdbench.training import Examinee, cost, evaluate, omitted, robustness
from kdbench.training.ensembles import Average
from kdbench.training.evaluation import calibration_error
from kdbench.training.inference import predict, score
from kdbench.training.inputs import Pixels

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def test_images() -> Images:
    images = data.load_test(data.DatasetSpec("digits"))
    return images.pick(torch.arange(64))


@pytest.fixture
def pixels(facts: Facts) -> Pixels:
    return Pixels(facts, CPU)


def _network(name: str = "resnet8w2", seed: int = 0) -> nn.Module:
    return models.build(name, shape=SHAPE, classes=10, seed=seed).eval()


class Linear(nn.Module):
    """Two classes: is the mean pixel above or below zero?"""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, images: Tensor) -> Outputs:
        mean = self.scale * images.flatten(1).mean(1)
        return Outputs(torch.stack([-mean, mean], 1), (), (), mean[:, None])


def test_score_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    found = score(logits, torch.tensor([0, 0, 0]))
    assert found.accuracy == pytest.approx(2 / 3)
    expected = (math.log(1 + math.exp(-2)) + math.log(2) + math.log(1 + math.exp(3))) / 3
    assert found.loss == pytest.approx(expected)


def test_predictions_do_not_depend_on_chunks_or_mode(test_images: Images, pixels: Pixels) -> None:
    network = _network().train()
    many = torch.cat([test_images.images] * 9)  # more than one chunk
    logits = predict(network, many, pixels)
    assert network.training
    assert logits.shape == (576, 10)
    torch.testing.assert_close(logits[:64], logits[-64:])
    assert not logits.requires_grad


def test_calibration_error_by_hand() -> None:
    """Two bins in use: (0.6, right), (0.6, wrong) and (0.9, right)."""
    p = torch.tensor([0.6, 0.6, 0.9], dtype=torch.float64)
    logits = torch.stack([p, 1 - p], 1).log()
    labels = torch.tensor([0, 1, 0])
    assert calibration_error(logits, labels) == pytest.approx((abs(1 - 1.2) + abs(1 - 0.9)) / 3)


def test_calibration_error_at_full_confidence() -> None:
    logits = torch.tensor([[1000.0, 0.0], [1000.0, 0.0]])
    assert calibration_error(logits, torch.tensor([0, 1])) == pytest.approx(0.5)
    assert calibration_error(logits, torch.tensor([0, 0])) == 0.0


def test_what_is_evaluated_of_a_plain_student(
    test_images: Images, digits: TrainingData, facts: Facts, teacher: nn.Module
) -> None:
    network = _network()
    found = evaluate(Examinee(network, teacher=teacher.eval()), test_images, digits.validation, facts, "cpu")
    assert set(found) >= {
        "test/accuracy",
        "test/loss",
        "eval/parameters",
        "eval/flops",
        "eval/latency_ms",
        "eval/ece",
        "eval/robust_accuracy_fgsm",
        "eval/robust_accuracy_pgd",
        "eval/agreement",
        "eval/boundary_pairs",
    }
    assert not any("exit" in name or "omitted" in name or "ensemble" in name for name in found)
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    assert found["eval/parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert 0 <= found["eval/robust_accuracy_pgd"] <= found["test/accuracy"]


def test_it_is_the_same_every_time(test_images: Images, digits: TrainingData, facts: Facts) -> None:
    one, other = (
        evaluate(Examinee(_network()), test_images, digits.validation, facts, "cpu") for _ in range(2)
    )
    assert {k: v for k, v in one.items() if "latency" not in k} == {
        k: v for k, v in other.items() if "latency" not in k
    }


def test_a_network_agrees_with_itself(test_images: Images, digits: TrainingData, facts: Facts) -> None:
    network = _network("resnet8w4", seed=5)
    found = evaluate(Examinee(network, teacher=network), test_images, digits.validation, facts, "cpu")
    assert found["eval/agreement"] == 1.0
    if found["eval/boundary_pairs"]:
        assert found["eval/magsim"] == pytest.approx(1.0)
        assert found["eval/angsim"] == pytest.approx(1.0, abs=1e-5)
    else:
        assert "eval/magsim" not in found


def test_multi_exit_networks_are_evaluated_per_exit(
    test_images: Images, digits: TrainingData, facts: Facts
) -> None:
    network = models.MultiExit(_network(), SHAPE, 10, seed=1).eval()
    teacher = _network("resnet14", seed=3)
    found = evaluate(Examinee(network, teacher=teacher), test_images, digits.validation, facts, "cpu")
    assert found["eval/exit3_accuracy"] == found["test/accuracy"], "the deepest exit is the student"
    student = {name.removeprefix("eval/") for name in found if name.startswith("eval/")}
    student = {name for name in student if not name.startswith(("exit", "ensemble"))} - {"magsim", "angsim"}
    for name in student:
        assert found[f"eval/exit3_{name}"] == found[f"eval/{name}"]
    for prefix in ("exit1", "exit2", "ensemble"):
        assert {f"eval/{prefix}_{name}" for name in {*student, "accuracy", "loss"}} <= set(found)
    assert found["eval/exit1_flops"] < found["eval/exit2_flops"]
    assert found["eval/exit1_parameters"] < found["eval/exit2_parameters"]
    assert found["eval/ensemble_parameters"] == cost.parameters(network)
    assert found["eval/parameters"] == sum(p.numel() for p in network.backbone.parameters())
    assert 0 <= found["eval/ensemble_accuracy"] <= 1
    assert all(f"eval/exit{number}_latency_ms" in found for number in (1, 2, 3))


@pytest.mark.parametrize(
    "name", ["resnet8w2", "wrn-10-1", "vgg8", "resnet8x4", "mobilenetv2", "shufflenetv2"]
)
def test_a_truncated_network_does_the_work_of_its_exit(
    name: str, pixels: Pixels, test_images: Images
) -> None:
    network = models.MultiExit(_network(name), SHAPE, 10, seed=1).eval()
    image = pixels(test_images.images[:1])
    parts = cost.exits(network, image)
    with torch.no_grad():
        whole = network(image).exits
        assert len(parts) == len(whole)
        for part, leave in zip(parts, whole, strict=True):
            answer = part(image)
            logits = answer.logits if isinstance(answer, Outputs) else answer
            torch.testing.assert_close(logits, leave.logits)
    trunks = [cost.flops(part, image) - _head_flops(network, n, image) for n, part in enumerate(parts)]
    assert trunks == sorted(set(trunks)), "each exit runs more of the network than the one before"
    assert not any(module._forward_pre_hooks for module in network.modules()), "no hook is left"


def _head_flops(network: models.MultiExit, number: int, image: Tensor) -> int:
    if number == len(network.linears):
        return 0
    feature = network.backbone(image).features[number + 1]
    bottleneck, linear = network.bottlenecks[number], network.linears[number]
    return cost.flops(lambda given: linear(bottleneck(given)), feature)


def test_flops_of_a_perceptron_by_hand() -> None:
    network = _network("mlp-24x2")
    assert cost.flops(network, torch.zeros(1, *SHAPE)) == 2 * (64 * 24 + 24 * 24 + 24 * 10)
    assert cost.parameters(network) == 64 * 24 + 24 + 24 * 24 + 24 + 24 * 10 + 10


def test_latency_is_positive() -> None:
    assert cost.latency_ms(_network("mlp-24x2"), torch.zeros(1, *SHAPE)) > 0


def test_attacks_on_a_linear_network_by_hand(facts: Facts) -> None:
    """An image falls exactly if its mean is nearer to zero than ε in pixels: 8 of 255."""
    pixels = Pixels(facts, CPU)
    border = 255 * facts.mean[0]  # 77.7: the pixel value that is normalised to zero
    values = [border - 40, border - 5, border + 5, border + 40]
    images = torch.tensor(values).round().to(torch.uint8).view(4, 1, 1, 1).expand(4, 1, 8, 8)
    test = Images(images, torch.tensor([0, 0, 1, 1]))
    network = Linear()
    assert score(predict(network, images, pixels), test.labels).accuracy == 1.0
    assert robustness.robust_accuracy_fgsm(network, test, pixels) == 0.5
    assert robustness.robust_accuracy_pgd(network, test, pixels) == 0.5
    assert network.scale.grad is None


def test_attacks_stay_inside_the_ball_and_the_pixel_range(test_images: Images, pixels: Pixels) -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = _network()

        def forward(self, images: Tensor) -> Outputs:
            seen.append(images.detach())
            return self.network(images)  # type: ignore[no-any-return]

    # all labels right for ever would need a perfect network: label the images as the network does
    labels = predict(_network(), test_images.images, pixels).argmax(1)
    robustness.robust_accuracy_pgd(Spy(), Images(test_images.images, labels), pixels)
    original = pixels(test_images.images)
    radius = robustness.EPSILON / float(pixels.std) + 1e-5
    low, high = pixels.range
    assert len(seen) > 3
    for images in seen:
        assert images.min() >= low.min() - 1e-6
        assert images.max() <= high.max() + 1e-6
        distance = torch.cdist(images.flatten(1), original.flatten(1), p=float("inf")).amin(1)
        assert distance.max() <= radius


def test_a_large_test_split_is_sampled_once_for_ever() -> None:
    labels = torch.arange(3000)
    test = Images(torch.zeros(3000, 1, 1, 1, dtype=torch.uint8), labels)
    sample = robustness.attacked(test)
    assert len(sample) == 1000
    assert torch.equal(sample.labels, robustness.attacked(test).labels)
    assert sample.labels.float().mean() == pytest.approx(1500, abs=100)  # 27 is one standard error
    assert len(robustness.attacked(test.pick(torch.arange(30)))) == 30


def test_an_average_of_networks() -> None:
    members = [_network(seed=seed) for seed in (1, 2)]
    images = torch.rand(3, *SHAPE)
    found = Average(members)(images)
    expected = (members[0](images).logits.softmax(1) + members[1](images).logits.softmax(1)) / 2
    torch.testing.assert_close(found, expected)


def test_an_ensemble_is_evaluated(test_images: Images, digits: TrainingData, facts: Facts) -> None:
    network = _network()
    examinee = Examinee(network, ensemble=Average([network]))
    found = evaluate(examinee, test_images, digits.validation, facts, "cpu")
    assert found["eval/ensemble_accuracy"] == found["test/accuracy"]


class Knowing(Average):
    """An ensemble of one that says how many members know each class."""

    def __init__(self, network: nn.Module, covering: list[int]) -> None:
        super().__init__([network])
        self.register_buffer("covering", torch.tensor(covering))


def test_an_ensemble_is_evaluated_by_who_knows_the_class(
    test_images: Images, digits: TrainingData, facts: Facts, pixels: Pixels
) -> None:
    network, teacher = _network(), _network(seed=1)
    covering = [2, 0, 0, 1, 1, 1, 1, 1, 1, 1]
    examinee = Examinee(network, ensemble=Knowing(network, covering), teacher=teacher)
    found = evaluate(examinee, test_images, digits.validation, facts, "cpu")
    for count, classes in ((0, (1, 2)), (1, range(3, 10)), (2, (0,))):
        own = torch.isin(test_images.labels, torch.tensor(list(classes)))
        assert found[f"eval/covered{count}_images"] == own.sum()
        for name, answerer in (("accuracy", network), ("teacher_accuracy", teacher)):
            logits = predict(answerer, test_images.images[own], pixels)
            expected = score(logits, test_images.labels[own]).accuracy
            assert found[f"eval/covered{count}_{name}"] == pytest.approx(expected)
    assert sum(name.startswith("eval/covered") for name in found) == 9
    plain = evaluate(Examinee(network, Average([network])), test_images, digits.validation, facts, "cpu")
    assert not any(name.startswith("eval/covered") for name in plain)


def test_the_bias_of_omitted_classes_restores_their_prior() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 4, generator=generator)
    logits[:, [1, 3]] -= 6
    labels = torch.randint(4, (500,), generator=generator)
    bias = omitted.bias_by_prior(logits, labels, [1, 3])
    shifted = logits.double()
    shifted[:, [1, 3]] += bias
    mass = shifted.softmax(1)[:, [1, 3]].sum(1).mean()
    prior = ((labels == 1) | (labels == 3)).double().mean()
    assert float(mass) == pytest.approx(float(prior), abs=1e-9)


def test_biases_by_hand() -> None:
    """Class 2 is omitted; the first two of its three images win from a bias of 1 and 3 on."""
    logits = torch.tensor([[0.0, 2.0, 1.0], [0.0, 3.0, 0.0], [5.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    labels = torch.tensor([2, 2, 2, 0])
    assert omitted.accuracy_and_errors(logits, labels, [2], 0.0) == (0.25, 3)
    assert omitted.accuracy_and_errors(logits, labels, [2], 1.5) == (0.5, 2)
    assert omitted.accuracy_and_errors(logits, labels, [2], 3.5) == (0.75, 1)
    assert omitted.accuracy_and_errors(logits, labels, [2], 6.0) == (0.75, 0)
    best, accuracy = omitted.best_bias(logits, labels, [2])
    assert accuracy == 0.75
    assert best == pytest.approx(3.05), "the smallest bias with the best accuracy"


def test_no_bias_is_found_where_none_helps() -> None:
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    assert omitted.best_bias(logits, torch.tensor([0, 1]), [1]) == (0.0, 1.0)


def test_omitted_classes_are_evaluated(test_images: Images, digits: TrainingData, facts: Facts) -> None:
    network = _network()
    examinee = Examinee(network, omit_classes=(3, 7))
    found = evaluate(examinee, test_images, digits.validation, facts, "cpu")
    names = {"eval/bias_validation", "eval/accuracy_bias_validation", "eval/omitted_errors"}
    assert names | {"audit/bias_test", "audit/accuracy_bias_test"} <= set(found)
    assert found["audit/accuracy_bias_test"] >= found["eval/accuracy_bias_validation"] - 0.02
    assert found["audit/accuracy_bias_test"] >= found["test/accuracy"]
