"""Where kdbench keeps its state: `$KDBENCH_HOME`, else `./kdbench-runs`."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kdbench.errors import Mistake


@dataclass(frozen=True)
class Home:
    """The folders of one state directory; nothing here creates them."""

    root: Path

    @property
    def results(self) -> Path:
        """One JSON per run: the authority for what is done."""
        return self.root / "results"

    @property
    def teachers(self) -> Path:
        """`<key>.safetensors` of every trained teacher."""
        return self.root / "teachers"

    @property
    def students(self) -> Path:
        """`<key>.safetensors` and `<key>.json` of the final students that are kept."""
        return self.root / "students"

    @property
    def checkpoints(self) -> Path:
        """`<key>/`: the state of trainings under way, removed once their result is written."""
        return self.root / "checkpoints"

    @property
    def mlflow_uri(self) -> str:
        """The tracking URI used where none is given."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts under that URI."""
        return self.root / "mlartifacts"

    def launch(self, suite: str) -> Path:
        """`plan.json`, `optuna.journal`, `spool/` of one suite."""
        return self.root / "launches" / suite


def home() -> Home:
    """The state directory in force, as an absolute path."""
    return Home(Path(os.environ.get("KDBENCH_HOME") or "kdbench-runs").absolute())


def unusable(places: Mapping[str, Path]) -> list[Mistake]:
    """A Mistake for every key whose folder cannot be made and written to. Leaves nothing behind."""
    found = []
    for key, folder in places.items():
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        try:
            with tempfile.TemporaryDirectory(dir=nearest):
                pass  # `os.access` would say yes to root everywhere, in /proc too
        except OSError as error:
            allowed = f"a folder that can be written to; {error.strerror}"
            found.append(Mistake(key, repr(str(folder)), allowed))
    return found
