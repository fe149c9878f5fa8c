"""How the search for boundary supporting samples does on a published teacher.

    KDBENCH_DATA=DIR python perf/boundary.py [--step-sizes 0.3 0.1] [--max-steps 10] [STUDENT.safetensors …]

Base samples are the test images that the teacher of `suites/cifar10-bss.yaml` (its own data set, a lossless
tenth of CIFAR-10) gets right, targets are drawn from its probabilities as in training. Printed for every step
size: the share that ends in the target class, updates per sample, the L2 norm of the perturbation of the
accepted (in the network's input, where a pixel's range is about 4 wide), images sent through the network;
and for every student given, MagSim and AngSim with the teacher and the number of pairs they rest on.
"""

import argparse
from pathlib import Path

import torch

from kdbench import data, models, suite
from kdbench.boundary import boundary_similarity, boundary_supporting_samples, draw_targets
from kdbench.data.batches import normalise, pixel_range
from kdbench.seeds import derive
from kdbench.training.saved import load_network


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("students", type=Path, nargs="*", metavar="STUDENT.safetensors")
    parser.add_argument("--step-sizes", type=float, nargs="+", default=[0.3, 0.1, 0.05])
    parser.add_argument("--max-steps", type=int, default=10)
    parser.add_argument("--epsilon", type=float, default=1e-4)
    given = parser.parse_args()

    asked = suite.load("cifar10-bss")
    facts = data.facts(asked.dataset)
    imported = asked.pairs[0].teacher
    teacher = models.load(
        imported.model, Path(str(imported.weights)), shape=facts.shape, classes=len(facts.classes)
    ).eval()
    test = data.load_test(asked.dataset)
    images = normalise(test.images, facts.mean, facts.std)
    with torch.no_grad():
        logits = torch.cat([teacher(batch).logits for batch in images.split(256)])
    right = logits.argmax(1) == test.labels
    students = [load_network(path) for path in given.students]
    everything = images, test.labels
    images, labels, logits = images[right], test.labels[right], logits[right]
    print(f"{facts.name}: {len(images)} of {len(right)} test images classified right by {imported.name}")
    targets = draw_targets(logits, labels, torch.Generator().manual_seed(derive(0, "perf", "boundary")))
    for step_size in given.step_sizes:
        found = [
            boundary_supporting_samples(
                teacher,
                *part,
                step_size=step_size,
                epsilon=given.epsilon,
                max_steps=given.max_steps,
                clip=pixel_range(facts.mean, facts.std),
            )
            for part in zip(images.split(256), labels.split(256), targets.split(256), strict=True)
        ]
        accepted = torch.cat([samples.accepted for samples in found])
        steps = torch.cat([samples.steps for samples in found])
        moved = torch.cat([samples.images for samples in found]) - images
        norms = moved.flatten(1).norm(dim=1)[accepted]
        print(f"step size {step_size:g}: accepted {accepted.float().mean():.1%},", end=" ")
        print(f"{steps.float().mean():.2f} steps, {len(images) + int(steps.sum())} images;", end=" ")
        print(f"norm {norms.mean():.3f}, median {norms.median():.3f}")
        for student, card in students:
            found = boundary_similarity(
                student,
                teacher,
                *everything,
                generator=torch.Generator().manual_seed(derive(0, "boundary")),
                step_size=step_size,
                epsilon=given.epsilon,
                max_steps=given.max_steps,
                clip=pixel_range(facts.mean, facts.std),
            )
            print(f"    {card.job['method']}: MagSim {found.magsim:.3f}, AngSim {found.angsim:.3f},", end=" ")
            print(f"{found.pairs} pairs")


if __name__ == "__main__":
    main()
