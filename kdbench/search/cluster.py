"""Ray, as a launch uses it: started or joined, quiet, and left as it was found."""

import contextlib
import logging
import os
from collections.abc import Iterator

# Read by Ray when it is imported.
ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0, nothing is printed while trials run
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a suite stay valid in workers
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files per trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would return from fit() as if all were well
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's own state is never read
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",  # the searcher decides how many runs wait
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a lost worker is retried and noted
}


def prepare() -> None:
    """Set what must be set before Ray is imported; what the user has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Ray at `address`, at `RAY_ADDRESS`, or a new local one. Left running only where it ran before."""
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options = {"include_dashboard": False} if address == "local" else {}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    for name in (
        "ray.tune",
        "ray.train",
        "ray.air",
    ):  # they advise Tuner.restore and miss metrics that nobody wants
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def has_gpu(address: str) -> bool:
    """Whether a cluster that runs has a GPU somewhere."""
    import ray

    with connected(address):
        return ray.cluster_resources().get("GPU", 0) > 0
