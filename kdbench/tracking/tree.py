"""A plan's runs as MLflow shows them: names, parents, tags, params and metrics, all in one place.

Tags are strings and carry the prefix `kdbench.`; docs/mlflow.md says what each means.
"""

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from kdbench.plan import Plan, Run, Study, describe, percent, protocol, slug
from kdbench.records import Epoch, Record, State
from kdbench.tracking import notes
from kdbench.tracking.operations import LAUNCH, Address, Student, Write, address

NOTE = "mlflow.note.content"
STATUS: Mapping[State, str] = {
    "running": "RUNNING",
    "complete": "FINISHED",
    "pruned": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
}


def address_of(run: Run | Study) -> Address:
    """Where a planned run or study is found."""
    kind = "study" if isinstance(run, Study) else run.kind
    return address(kind, run.pair, run.key)


class Tree:
    """The runs of one suite's plan."""

    def __init__(self, plan: Plan, commit: str):
        self._plan = plan
        self._noted: set[str] = set()  # studies whose description was given
        self._studies = {(study.key, study.pair): study for study in plan.studies}
        facts = plan.facts
        self._common = {
            "kdbench.suite": plan.suite.name,
            "kdbench.dataset": facts.name,
            "kdbench.dataset_hash": facts.content_hash,
            "kdbench.current": "true",
            "kdbench.device": plan.device,
            "kdbench.commit": commit,
        }

    def launch(self) -> Write:
        """The run above all others."""
        tags = {"kdbench.kind": "launch", "kdbench.seed": str(self._plan.suite.seed)}
        return Write(
            run=LAUNCH,
            name=f"launch · {self._plan.suite.name}",
            started=milliseconds(time.time()),
            tags={**self._common, **tags, NOTE: notes.launch_note(self._plan)},
            status="RUNNING",
        )

    def study_of(self, run: Run) -> Study | None:
        """The study that `run` belongs to; None for a teacher."""
        return self._studies.get((run.study, run.pair))

    def study(
        self, study: Study, state: Literal["", "running", "complete"] = "", best: Record | None = None
    ) -> Write:
        """The run of a search, perhaps in a new state; its metrics are the best trial's at its last epoch."""
        tags = {
            "kdbench.kind": "study",
            "kdbench.method": study.label,
            "kdbench.pair": study.pair,
            "kdbench.fraction": repr(study.fraction),
            "kdbench.search_fraction": repr(study.fraction),
            "kdbench.study": study.key,
            "kdbench.key": study.key,
            "kdbench.teacher_key": study.teacher_key or "",
            "kdbench.model": study.student,
            **self._protocol(study.pair),
        }
        if state:
            tags["kdbench.state"] = state
        if best is not None or study.key not in self._noted:
            self._noted.add(study.key)
            tags[NOTE] = notes.study_note(self._plan, study, best)
        last = best.history[-1] if best is not None and best.history else None
        results = last.metrics if last else {}
        return Write(
            run=address_of(study),
            name=f"{study.label} · {study.pair.replace('->', '→')} · {percent(study.fraction)}",
            parent=LAUNCH,
            started=milliseconds(time.time()),
            tags={**self._common, **tags},
            results={name: value for name, value in results.items() if name.startswith("val/")},
            step=last.epoch if last else 0,
            status={"": "", "running": "RUNNING", "complete": "FINISHED"}[state],
            ended=milliseconds(time.time()) if state == "complete" else 0,
        )

    def launch_ended(self, status: str) -> Write:
        """The launch run, closed."""
        return Write(run=LAUNCH, status=status, ended=milliseconds(time.time()))

    def run(self, run: Run, record: Record, *, reused: bool = False) -> Write:
        """All that is known of a run by now; `reused` where this launch did not train it."""
        ended = milliseconds(record.ended) if record.state != "running" else 0
        return Write(
            run=address_of(run),
            name=describe(run),
            parent=address("study", run.pair, run.study) if run.study else LAUNCH,
            started=milliseconds(record.started),
            tags={**self._common, **self._tags(run, record)},
            params={name: str(value) for name, value in record.hyperparameters.items()},
            epochs=_history(record),
            results={**record.test, **record.time},
            step=len(record.history),
            status=STATUS[record.state],
            ended=ended,
            reused=reused,
        )

    def epoch(self, run: Run, epoch: Epoch) -> Write:
        """One epoch of a run that is going on."""
        return Write(
            run=address_of(run), epochs=((epoch.epoch, milliseconds(time.time()), dict(epoch.metrics)),)
        )

    def student(self, run: Run, record: Record, weights: Path, champion: bool) -> Student:
        """A kept student; the best of its study at the largest fraction becomes a registered version."""
        facts = self._plan.facts
        teacher, _, student = run.pair.partition("->")
        parts = (
            self._plan.suite.name,
            slug(facts.name),
            f"{slug(teacher)}-{slug(student)}",
            slug(run.label),
        )
        names = ("suite", "dataset", "method", "pair", "fraction", "key")
        tags = {**self._common, **self._tags(run, record)}
        accuracy = record.test.get("test/accuracy")
        return Student(
            run=address_of(run),
            key=run.key,
            weights=str(weights),
            tags={
                **{f"kdbench.{name}": tags[f"kdbench.{name}"] for name in names},
                "kdbench.test_accuracy": "" if accuracy is None else repr(accuracy),
            },
            step=len(record.history),
            register=".".join(parts) if champion else "",
            description=notes.student_note(run, record, facts.name),
        )

    def _tags(self, run: Run, record: Record) -> dict[str, str]:
        """Tags of one training. An empty value stands for no tag."""
        study = self.study_of(run)
        model = str(record.job.get("model", "")) or (study.student if study else run.label)
        tags = {
            "kdbench.kind": run.kind,
            "kdbench.method": run.label if run.kind != "teacher" else record.method,
            "kdbench.pair": run.pair,
            "kdbench.fraction": repr(run.fraction),
            "kdbench.search_fraction": "" if run.search_fraction is None else repr(run.search_fraction),
            "kdbench.seed": str(run.seed),
            "kdbench.trial": str(run.number) if run.kind == "trial" else "",
            "kdbench.study": run.study,
            "kdbench.key": run.key,
            "kdbench.teacher_key": run.teacher_key or "",
            "kdbench.config": run.config or "",
            "kdbench.model": model,
            "kdbench.state": record.state,
            "kdbench.reason": record.reason or "",
            "kdbench.slot": repr(float(record.slot)),
            NOTE: notes.run_note(run, record),
            **(self._protocol(run.pair) if run.pair else {}),
        }
        if record.device:
            tags["kdbench.device"] = record.device
        if record.commit:
            tags["kdbench.commit"] = record.commit
        return tags

    @functools.cache  # noqa: B019 - one tree per launch, as many pairs as the plan has
    def _protocol(self, pair: str) -> dict[str, str]:
        identity, words = protocol(self._plan, pair)
        return {"kdbench.protocol": identity, "kdbench.protocol_label": words}


def milliseconds(seconds: float) -> int:
    """MLflow's unit of time."""
    return int(1000 * seconds)


def _history(record: Record) -> tuple[tuple[int, int, Mapping[str, float]], ...]:
    """A record's epochs, spread evenly over its time: when each ended is not recorded."""
    start, end = record.started, max(record.ended, record.started)
    count = len(record.history)
    return tuple(
        (epoch.epoch, milliseconds(start + (end - start) * (place + 1) / count), dict(epoch.metrics))
        for place, epoch in enumerate(record.history)
    )
