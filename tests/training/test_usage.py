"""System metrics of a run: read once, at its end."""

import time

import pytest
import torch

from kdbench.training.usage import Usage


def test_memory_and_busy_cores_are_measured() -> None:
    usage = Usage(torch.device("cpu"))
    held = torch.ones(20 * 2**20 // 4)
    until = time.process_time() + 0.2
    while time.process_time() < until:
        held.sum()
    found = usage.metrics()
    assert set(found) == {"system/cpu_utilization_percentage", "system/process_memory_megabytes"}
    assert found["system/cpu_utilization_percentage"] > 0
    assert found["system/process_memory_megabytes"] > 20


@pytest.mark.gpu
def test_the_largest_memory_on_the_gpu_is_measured() -> None:
    device = torch.device("cuda")
    usage = Usage(device)
    torch.ones(64 * 2**20 // 4, device=device)
    torch.ones(4, device=device)
    assert usage.metrics()["system/gpu_memory_megabytes"] >= 64
