"""The driver's side of tracking: says what happened, waits for nothing.

Every call turns into operations at the end of the spool, a few tens of microseconds each; the writer
process sends them. What MLflow gets is decided here, how it gets there in `writer` and `store`.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import yaml
from pydantic import TypeAdapter

from kdbench.home import Home
from kdbench.plan import Plan, Run, Study
from kdbench.records import Epoch, Record
from kdbench.search.store import state_home
from kdbench.tracking import told
from kdbench.tracking.environment import commit, environment
from kdbench.tracking.keep import Decision, Keeper
from kdbench.tracking.operations import LAUNCH, Address, Current, Dataset, Folder, Text, Write
from kdbench.tracking.spool import Appender, waiting
from kdbench.tracking.tree import Tree, address_of
from kdbench.tracking.uri import artifact_root, masked
from kdbench.tracking.writer import Errand

Outcome = Literal["finished", "failed", "interrupted"]
_STATUS: Mapping[Outcome, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class Tracker:
    """What a launch tells MLflow. One writer: a process of its own, started here, ended by `close`."""

    def __init__(self, plan: Plan, *, uri: str, home: Home, launch_folder: Path, interval: float = 2.0):
        """Start the writer and describe the launch. Needs no answer from MLflow (see `check` for that).

        Args:
            plan: what the launch will do.
            uri: the tracking URI; it is given to the writer alone and appears in no log.
            home: where students lie, and artifacts where kdbench opens the database itself.
            launch_folder: `spool/`, `tracking.log` and `tracked.json` are kept there.
            interval: seconds that MLflow may be behind.

        """
        self._plan, self._uri, self._home, self._folder = plan, uri, home, launch_folder
        self._students = state_home(plan, home).students
        self._tree = Tree(plan, commit())
        self._keeper = Keeper(plan)
        self._spool = Appender(launch_folder / "spool")
        self._first: dict[str, Address] = {}  # of each key trained in this launch: where its cost is counted
        self._running: set[Address] = set()  # studies whose trials this launch trains
        self._studies: set[Address] = set()
        self._ended: defaultdict[Address, set[int]] = defaultdict(set)  # of each study, numbers of its trials
        self._runs: dict[Address, tuple[Run, str]] = {}  # all that was told, with its state
        self._process = self._start(interval)
        self._describe()

    def opened(self, run: Run, record: Record) -> None:
        """A run was handed out; `record` is the one written when it was asked for."""
        study = self._tree.study_of(run)
        if study is not None:
            self._open_study(study)
            if run.kind == "trial" and address_of(study) not in self._running:
                self._running.add(address_of(study))
                self._spool.append(self._tree.study(study, "running"))
        at = address_of(run)
        first = self._first.setdefault(run.key, at)
        self._runs[at] = (run, record.state)
        self._spool.append(self._tree.run(run, record, reused=at != first))

    def epoch(self, run: Run, epoch: Epoch) -> None:
        """A run has ended an epoch."""
        self._spool.append(self._tree.epoch(run, epoch))

    def ended(self, run: Run, record: Record, student: Path | None = None) -> None:
        """A run has a result. One that was never `opened` here is a result of another suite, pair or launch.

        `student` is where the weights lie, if not at `<home>/students/<key>.safetensors`.
        """
        at, study = address_of(run), self._tree.study_of(run)
        if study is not None:
            self._open_study(study)
        self._runs[at] = (run, record.state)
        self._spool.append(self._tree.run(run, record, reused=at != self._first.get(run.key)))
        if run.kind == "trial" and study is not None:
            self._trial_ended(run, study)
            return
        self._spool.append(self._dataset(at))
        if run.kind == "final":
            self._keep(self._keeper.ended(run, record), run, student)

    def reconcile(self, runs: Iterable[tuple[Run, Record]]) -> None:
        """Make MLflow agree with the records: `runs` are all planned ones that have a record, running or not.

        What MLflow lacks is logged; the suite's other runs are marked `kdbench.current = false`.
        """
        for run, record in runs:
            if record.state == "running":
                study = self._tree.study_of(run)
                if study is not None:
                    self._open_study(study)
                self._runs[address_of(run)] = (run, record.state)
                self._spool.append(self._tree.run(run, record, reused=True))
            else:
                self.ended(run, record)
        studies = (address_of(study) for study in self._plan.studies)
        self._spool.append(Current((*studies, *self._runs)))

    def study_ended(self, study: Study, best: Record | None) -> None:
        """A search is over; `best` is its best complete trial."""
        self._open_study(study)
        self._spool.append(self._tree.study(study, "complete", best))

    def launch_metrics(self, values: Mapping[str, float]) -> None:
        """Numbers of the launch as a whole (utilisation, decision times, restarts)."""
        self._spool.append(Write(run=LAUNCH, results=dict(values)))

    def log_report(self, folder: Path) -> None:
        """Make a report's folder artifacts of the launch run, `report/index.html` first of all."""
        self._spool.append(Folder(LAUNCH, str(folder.absolute()), "report"))

    def flush(self) -> int:
        """Wait until everything said so far is sent, or the store has not answered for a while.

        Returns how many operations are left, in the spool or refused by MLflow. 0: everything is in MLflow.
        """
        assert self._process.stdin is not None  # noqa: S101 - for mypy; both are pipes
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(b"flush\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return waiting(self._folder / "spool")
        return self._left(self._process.stdout.readline())

    def close(self, outcome: Outcome = "finished") -> int:
        """End the launch run, flush, and end the writer; returns what `flush` does."""
        self._spool.append(self._tree.launch_ended(_STATUS[outcome]))
        self._spool.close()
        answer, _ = self._process.communicate()
        left = self._left(answer)
        if not left:
            told.mark(self._folder, self._uri, self._runs.values())
        return left

    def _left(self, answer: bytes) -> int:
        """What the writer says is left; if it was killed, what the spool holds."""
        return json.loads(answer)["left"] if answer else waiting(self._folder / "spool")

    def _start(self, interval: float) -> "subprocess.Popen[bytes]":
        artifacts = artifact_root(self._uri, self._home)
        errand = Errand(
            uri=self._uri,
            suite=self._plan.suite.name,
            spool=str(self._folder / "spool"),
            artifacts=str(artifacts) if artifacts else None,
            interval=interval,
        )
        with (self._folder / "tracking.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "kdbench.tracking"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a signal to the launch must not cut off what it has said already
            )
        assert process.stdin is not None  # noqa: S101 - for mypy; it is a pipe
        process.stdin.write(json.dumps(asdict(errand)).encode() + b"\n")
        process.stdin.flush()
        return process

    def _describe(self) -> None:
        plan = TypeAdapter(Plan).dump_json(self._plan, indent=1, by_alias=True).decode()
        suite = self._plan.suite.model_dump(mode="json", by_alias=True)
        self._spool.append(
            self._tree.launch(),
            Text(LAUNCH, masked(yaml.safe_dump(suite, sort_keys=False)), "suite.yaml"),
            Text(LAUNCH, masked(plan), "plan.json"),
            Text(LAUNCH, environment(self._plan.device), "environment.json"),
            self._dataset(LAUNCH),
        )

    def _dataset(self, at: Address) -> Dataset:
        spec, facts = self._plan.suite.dataset, self._plan.facts
        source = {
            "name": facts.name,
            "source": spec.source,
            "path": spec.path or spec.root,
            "note": facts.note,
        }
        return Dataset(at, facts.name, facts.content_hash[:32], json.dumps(source))

    def _open_study(self, study: Study) -> None:
        at = address_of(study)
        if at not in self._studies:
            self._studies.add(at)
            self._spool.append(self._tree.study(study), self._dataset(at))

    def _trial_ended(self, run: Run, study: Study) -> None:
        numbers = self._ended[address_of(study)]
        if run.number < study.trials and run.number not in numbers:
            numbers.add(run.number)
            if len(numbers) == study.trials:
                self._spool.append(self._tree.study(study, "complete"))

    def _keep(self, decision: Decision, ended: Run, student: Path | None) -> None:
        for run, record in decision.keep:
            given = student if run.key == ended.key else None
            weights = given or self._students / f"{run.key}.safetensors"
            self._spool.append(self._tree.student(run, record, weights, run.key == decision.champion))
        for key in decision.drop:
            if key in self._first:  # trained by this launch: of another suite's students we know nothing
                for suffix in (".safetensors", ".json"):
                    (self._students / f"{key}{suffix}").unlink(missing_ok=True)
