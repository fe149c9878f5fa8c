"""The state around one training where it lies in an object store: fetched before, stored meanwhile and
after.
"""

import hashlib
import shutil
import tempfile
import time
from pathlib import Path

from kdbench.home import Home
from kdbench.search.mirror import Mirror
from kdbench.search.work import Work
from kdbench.training.job import Job, teacher_key

STORE_EVERY_S = 60.0  # a lost worker costs at most this and one epoch


class RemoteState:
    """What one worker has on its own disk of an object store."""

    def __init__(self, uri: str, work: Work):
        name = f"kdbench-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"
        self.home = Home(Path(tempfile.gettempdir()) / name)
        self._mirror, self._work = Mirror(uri, self.home), work
        self._stored = time.monotonic()

    def fetch(self) -> None:
        """Have the run's teachers and its last checkpoint here."""
        for teacher in (self._work.job.teacher, self._work.pair_teacher):
            if isinstance(teacher, Job):
                key = teacher_key(teacher, self._work.device)
                self._mirror.pull("teachers", [f"{key}.safetensors", f"{key}.json"])
        self._mirror.pull(self._checkpoints)

    def epoch(self) -> None:
        """An epoch and its checkpoint are done."""
        if time.monotonic() - self._stored >= STORE_EVERY_S:
            self._mirror.push(self._checkpoints)
            self._stored = time.monotonic()

    def end(self) -> None:
        """The training has ended: store the network that it kept, and drop its checkpoints here."""
        folder = "teachers" if self._work.kind == "teacher" else "students"
        self._mirror.push(folder, [f"{self._work.key}.safetensors", f"{self._work.key}.json"])
        shutil.rmtree(self.home.root / self._checkpoints, ignore_errors=True)

    @property
    def _checkpoints(self) -> str:
        return f"checkpoints/{self._work.key}"
