"""What is different on CUDA: bfloat16, channels-last, looks at the loss now and then."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from misbehaving import Nan, Recording
from torch import nn

from kdbench.data import TrainingData
from kdbench.home import Home
from kdbench.methods.contract import Batch, Method
from kdbench.records import Epoch
from kdbench.training import execute, train
from kdbench.training.job import Job, job_key

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
MakeJob = Callable[..., Job]


@pytest.fixture
def on_gpu(digits: TrainingData) -> TrainingData:
    return TrainingData(digits.train.to("cuda"), digits.validation.to("cuda"), digits.full_size, digits.facts)


@pytest.mark.parametrize("method", ["original", "hinton", "fitnet", "at", "rkd", "bss", "byot"])
def test_methods_run(on_gpu: TrainingData, make_job: MakeJob, teacher: nn.Module, method: str) -> None:
    needs_none = method in ("original", "byot")
    trained = train(make_job(method=method), on_gpu, None if needs_none else teacher, "cuda")
    assert trained.state == "complete"
    assert all(value.dtype in (torch.float32, torch.int64) for value in trained.student.state_dict().values())


def test_forwards_and_losses_are_in_bfloat16(
    on_gpu: TrainingData, make_job: MakeJob, registered: Callable[[type[Method]], str]
) -> None:
    seen: list[Batch] = []

    class Seen(Recording):
        pass

    Seen.show = staticmethod(seen.append)
    train(make_job({"epochs": 1}, method=registered(Seen)), on_gpu, None, "cuda")
    assert seen[0].student.logits.dtype == torch.bfloat16
    assert seen[0].images.is_contiguous(memory_format=torch.channels_last)


def test_a_training_resumes(on_gpu: TrainingData, make_job: MakeJob, tmp_path: Path) -> None:
    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_job(), on_gpu, None, "cuda", checkpoints=tmp_path, on_epoch=stop)
    told: list[Epoch] = []
    resumed = train(make_job(), on_gpu, None, "cuda", checkpoints=tmp_path, on_resumed=told.extend)
    assert tuple(told) == resumed.history[:2]
    assert len(resumed.history) == 4


def test_divergence_is_seen_at_the_end_of_the_epoch_at_the_latest(
    on_gpu: TrainingData, make_job: MakeJob, registered: Callable[[type[Method]], str]
) -> None:
    trained = train(make_job(method=registered(Nan)), on_gpu, None, "cuda")
    assert (trained.state, len(trained.history)) == ("diverged", 1)


def test_a_final_says_its_device(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job()
    outcome = execute(job, kind="final", key=job_key(job, "cuda"), home=Home(tmp_path), device="cuda")
    assert outcome.state == "complete", outcome.message
    assert outcome.device.startswith("cuda, ")
    assert outcome.history[-1].metrics["audit/test_accuracy"] == outcome.test["test/accuracy"]
