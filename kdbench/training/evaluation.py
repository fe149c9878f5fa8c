"""What is measured on a finished network, on the test split. Nothing here selects anything."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdbench.boundary.similarity import boundary_similarity
from kdbench.data import Facts, Images
from kdbench.models import MultiExit, Outputs
from kdbench.seeds import derive
from kdbench.training import cost, omitted
from kdbench.training.ensembles import ExitAlone, ExitAverage
from kdbench.training.inference import chunks, predict, score
from kdbench.training.inputs import Pixels
from kdbench.training.precision import exact
from kdbench.training.robustness import attacked, robust_accuracy_fgsm, robust_accuracy_pgd

# Bumped by hand whenever one of these numbers is computed in another way.
EVALUATION_VERSION = 2

ECE_BINS = 15  # of equal width


@dataclass(frozen=True)
class Examinee:
    """A network and the others that it is compared with."""

    model: nn.Module  # of the student's architecture; a MultiExit answers at its deepest exit
    ensemble: nn.Module | None = None  # normalised images -> probabilities (B, C)
    teacher: nn.Module | None = None  # the pair's, whether or not the model learned from it
    omit_classes: Sequence[int] = ()  # classes that the model was not trained on


def evaluate(
    examinee: Examinee, test: Images, validation: Images, facts: Facts, device: str | torch.device
) -> dict[str, float]:
    """`test/accuracy`, `test/loss`, `eval/*` and, for omitted classes, `audit/*`, in float32.

    With a teacher also `eval/agreement` and how similar the boundaries of the two networks are; similarities
    are left out where no pair of boundary supporting samples was found, `eval/boundary_pairs` is 0 then.

    `validation` is used for one thing: the bias of omitted classes. Keys that do not apply are left out.
    Latencies are of this very device.
    """
    device = torch.device(device)
    test, validation, pixels = test.to(device), validation.to(device), Pixels(facts, device)
    model = examinee.model.eval()
    network = model.backbone if isinstance(model, MultiExit) else model
    logits = predict(network, test.images, pixels)
    plain = score(logits, test.labels)
    student = {"parameters": cost.parameters(network)} | _work(network, pixels(test.images[:1]))
    student |= _answers(network, logits, test, pixels)
    if examinee.teacher is not None:
        student |= _compared(network, examinee.teacher, logits, test, pixels)
    values: dict[str, float] = {"test/accuracy": plain.accuracy, "test/loss": plain.loss}
    values |= _named("eval/", student)
    if isinstance(model, MultiExit):
        deepest = {"accuracy": plain.accuracy, "loss": plain.loss} | student
        values |= _exits(model, deepest, examinee.teacher, test, pixels)
    if examinee.ensemble is not None:
        right = _right(examinee.ensemble.eval(), test, pixels)
        values["eval/ensemble_accuracy"] = float(right.double().mean())
        values |= _covered(examinee.ensemble, right, examinee.teacher, test, pixels)
    if examinee.omit_classes:
        held_out = predict(network, validation.images, pixels)
        values |= _omitted(logits, test.labels, held_out, validation.labels, examinee.omit_classes)
    return {name: float(value) for name, value in values.items()}


def _named(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {prefix + name: float(value) for name, value in values.items()}


def _work(network: cost.Network, image: Tensor) -> dict[str, float]:
    return {"flops": cost.flops(network, image), "latency_ms": cost.latency_ms(network, image)}


def _answers(network: nn.Module, logits: Tensor, test: Images, pixels: Pixels) -> dict[str, float]:
    """How far the confidence is from the accuracy, and what is left of that under attack."""
    sample = attacked(test)
    return {
        "ece": calibration_error(logits, test.labels),
        "robust_accuracy_fgsm": robust_accuracy_fgsm(network, sample, pixels),
        "robust_accuracy_pgd": robust_accuracy_pgd(network, sample, pixels),
    }


def _compared(
    network: nn.Module, teacher: nn.Module, logits: Tensor, test: Images, pixels: Pixels
) -> dict[str, float]:
    agreed = logits.argmax(1) == predict(teacher, test.images, pixels).argmax(1)
    sample = attacked(test)
    found = boundary_similarity(
        network,
        teacher,
        pixels(sample.images),
        sample.labels,
        generator=torch.Generator(test.labels.device).manual_seed(derive(0, "boundary")),
        clip=pixels.range,
    )
    values = {"agreement": float(agreed.double().mean()), "boundary_pairs": float(found.pairs)}
    if found.pairs:
        values |= {"magsim": found.magsim, "angsim": found.angsim}
    return values


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Expected calibration error of the likeliest class, over ECE_BINS bins; in [0, 1].

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3. Logits (N, C), labels (N,).
    """
    confidence, prediction = functional.softmax(logits.double(), 1).max(1)
    gap = (prediction == labels).double() - confidence
    bins = (confidence * ECE_BINS).long().clamp(max=ECE_BINS - 1)
    sums = torch.zeros(ECE_BINS, dtype=torch.float64, device=logits.device).index_add_(0, bins, gap)
    return float(sums.abs().sum() / len(labels))


def _exits(
    model: MultiExit, deepest: Mapping[str, float], teacher: nn.Module | None, test: Images, pixels: Pixels
) -> dict[str, float]:
    """`eval/exit<i>_…`, i from 1, shallow to deep, and `eval/ensemble_…`, the mean of all exits' softmax.

    All that is said of a student is said of each; the deepest exit is the student.
    """
    image = pixels(test.images[:1])
    work = cost.exits(model, image)
    asked: dict[str, tuple[nn.Module, cost.Network]] = {
        f"eval/exit{number}_": (ExitAlone(model, number - 1), network)
        for number, network in enumerate(work[:-1], 1)
    }
    asked["eval/ensemble_"] = (ExitAverage(model), model)
    values = _named(f"eval/exit{len(work)}_", deepest)
    for prefix, (network, forward) in asked.items():
        logits = predict(network, test.images, pixels)
        plain = score(logits, test.labels)
        found = {"accuracy": plain.accuracy, "loss": plain.loss}
        found |= {"parameters": cost.parameters_used(network, image)} | _work(forward, image)
        found |= _answers(network, logits, test, pixels)
        if teacher is not None:
            found |= _compared(network, teacher, logits, test, pixels)
        values |= _named(prefix, found)
    return values


def _covered(
    ensemble: nn.Module, right: Tensor, teacher: nn.Module | None, test: Images, pixels: Pixels
) -> dict[str, float]:
    """`eval/covered<k>_…`: of test images whose class k members know, with the teacher's accuracy beside.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, table 4. Empty for ensembles that do not tell.
    """
    covering = getattr(ensemble, "covering", None)
    if covering is None:
        return {}
    known = covering.to(test.labels.device)[test.labels]
    alone = None if teacher is None else _right(teacher, test, pixels)
    values = {}
    for count in known.unique().tolist():
        images = known == count
        values[f"eval/covered{count}_images"] = float(images.sum())
        values[f"eval/covered{count}_accuracy"] = float(right[images].double().mean())
        if alone is not None:
            values[f"eval/covered{count}_teacher_accuracy"] = float(alone[images].double().mean())
    return values


@torch.no_grad()
def _right(network: Callable[[Tensor], Tensor | Outputs], test: Images, pixels: Pixels) -> Tensor:
    """(N,) bool: whether the likeliest class is the label, for what answers with Outputs or probabilities."""
    right = []
    with exact(test.images.device):
        for images, labels in zip(chunks(test.images), chunks(test.labels), strict=True):
            answer = network(pixels(images))
            scores = answer.logits if isinstance(answer, Outputs) else answer
            right.append(scores.argmax(1) == labels)
    return torch.cat(right)


def _omitted(
    logits: Tensor,
    labels: Tensor,
    validation_logits: Tensor,
    validation_labels: Tensor,
    classes: Sequence[int],
) -> Mapping[str, float]:
    bias = omitted.bias_by_prior(validation_logits, validation_labels, classes)
    accuracy, errors = omitted.accuracy_and_errors(logits, labels, classes, bias)
    _, uncorrected = omitted.accuracy_and_errors(logits, labels, classes, 0.0)
    best, best_accuracy = omitted.best_bias(logits, labels, classes)
    return {
        "eval/bias_validation": bias,
        "eval/accuracy_bias_validation": accuracy,
        "eval/omitted_errors": errors,  # images of these classes that are wrong with that bias
        "eval/omitted_errors_uncorrected": uncorrected,
        "audit/bias_test": best,  # chosen on the test split: what the paper did, and nobody should
        "audit/accuracy_bias_test": best_accuracy,
    }
