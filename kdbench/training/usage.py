"""What a run took of its machine, under the names by which MLflow shows system metrics."""

import time

import psutil
import torch

_MEGABYTE = 2**20


class Usage:
    """Measures this process from now on. One reading at the end, no thread that samples."""

    def __init__(self, device: torch.device):
        self._device = device
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def metrics(self) -> dict[str, float]:
        """CPU time over wall time (100 is one busy core), memory now, the GPU's largest since the start."""
        wall = max(time.perf_counter() - self._wall, 1e-9)
        found = {
            "system/cpu_utilization_percentage": 100 * (time.process_time() - self._cpu) / wall,
            "system/process_memory_megabytes": psutil.Process().memory_info().rss / _MEGABYTE,
        }
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            found["system/gpu_memory_megabytes"] = peak / _MEGABYTE
        return found
