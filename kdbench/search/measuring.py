"""What equal runs take when they share one device: trained for an epoch each, at the same time."""

import queue
import time
from dataclasses import replace
from typing import Any

import ray
import torch
import torch.multiprocessing

from kdbench import data, models, training
from kdbench.data import DatasetSpec, Facts, TrainingData
from kdbench.plan import Plan, Study, trial_job
from kdbench.records import Epoch
from kdbench.search.packing import Measured, Packing, pack
from kdbench.training.job import Job

UPDATES = 60  # in a measured epoch
_CONTEXT = 600 * 2**20  # bytes that a process takes on a GPU before its first tensor


def packings(plan: Plan, images: Any) -> dict[str, Packing]:
    """The packing of every pair, measured on whole GPUs of the cluster, pairs in parallel.

    `images` are the references to the shipped splits.
    """
    remote = ray.remote(num_gpus=1, max_calls=1)(_pack)
    studies = {study.pair: _typical(plan, study.pair) for study in plan.studies}
    asked = {
        pair: remote.remote(_short(plan, study), plan.suite.dataset, plan.facts, images["train"])
        for pair, study in studies.items()
    }
    return {pair: ray.get(answer) for pair, answer in asked.items()}


def _typical(plan: Plan, pair: str) -> Study:
    """A study of the pair, one with a teacher if there is any."""
    studies = [study for study in plan.studies if study.pair == pair]
    return next((study for study in studies if study.teacher is not None), studies[0])


def _short(plan: Plan, study: Study) -> Job:
    """The study's default trial, two short epochs of it: the first warms up."""
    job = trial_job(plan, study, 0, study.enqueued[0])
    fraction = min(1.0, UPDATES * job.recipe.batch_size / plan.facts.train_size)
    return replace(
        job,
        recipe=replace(job.recipe, epochs=2, updates="scaled"),
        split=replace(job.split, fraction=max(job.split.fraction * fraction, 0.01)),
    )


def _pack(job: Job, spec: DatasetSpec, facts: Facts, images: Any) -> Packing:
    data.offer(spec, "train", data.Images(*map(torch.tensor, images)))
    split = data.make_training(spec, facts, job.split, "cpu")
    memory = torch.cuda.mem_get_info()[1]
    return pack(lambda runs: measure(job, split, runs, "cuda"), memory)


def measure(job: Job, images: TrainingData, runs: int, device: str) -> Measured:
    """Train `job` so many times at once on `device`, in processes of their own, and say what each took.

    Raises MemoryError if one of them dies: there is not enough for all.
    """
    context = torch.multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(runs), context.Queue()
    processes = [
        context.Process(target=_train, args=(job, images, device, barrier, answers)) for _ in range(runs)
    ]
    for process in processes:
        process.start()
    taken = _answers(processes, answers)
    return Measured(runs, max(seconds for seconds, _ in taken), max(memory for _, memory in taken))


def _answers(processes: list[Any], answers: Any) -> list[tuple[float, int]]:
    """One answer of each process; the others are stopped where one dies."""
    found: list[tuple[float, int]] = []
    try:
        while len(found) < len(processes):
            try:
                found.append(answers.get(timeout=0.5))
            except queue.Empty:
                if any(process.exitcode for process in processes):
                    raise MemoryError(f"{len(processes)} at once") from None
    finally:
        for process in processes:
            if len(found) < len(processes):
                process.kill()
            process.join()
    return found


def _train(job: Job, images: TrainingData, device: str, barrier: Any, answers: Any) -> None:
    torch.set_num_threads(1)
    teacher = None
    if job.teacher is not None:  # any weights cost the same
        shape, classes = images.facts.shape, len(images.facts.classes)
        teacher = models.build(job.teacher.model, shape=shape, classes=classes, seed=0)
    moments: list[float] = []

    def on_epoch(epoch: Epoch) -> None:
        if len(moments) == 0:
            barrier.wait()
        moments.append(time.perf_counter())

    here = TrainingData(images.train.to(device), images.validation.to(device), images.full_size, images.facts)
    training.train(job, here, teacher, device, on_epoch=on_epoch)
    memory = torch.cuda.max_memory_reserved() + _CONTEXT if device == "cuda" else 0
    answers.put((moments[1] - moments[0], memory))
