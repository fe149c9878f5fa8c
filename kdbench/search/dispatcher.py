"""Which run is next, and what follows from what came back. Knows neither Ray nor files."""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Literal, Protocol

from kdbench import plan as planning
from kdbench.methods.contract import Scalar
from kdbench.plan import Plan, Run, Study
from kdbench.records import Epoch, Kind, Reason, Record
from kdbench.search.finals import Finals
from kdbench.search.flight import Flight
from kdbench.search.ledger import Ledger, studies_by_key
from kdbench.search.study import StudySearch
from kdbench.search.trial import Trial
from kdbench.search.work import Message, Share, Work
from kdbench.training.job import ImportedTeacher, Job, teacher_key

KILLS = 3  # times that a run is tried again after its worker died, or its machine failed it
LOSSES = 30  # times that it is tried again after a node went away: not its fault, but not for ever either

Teacher = Job | ImportedTeacher | None
# How a run is lost: its node went away, its worker died, a disk or a store failed it, or it raised where no
# outcome could be made of that.
Loss = Literal["node", "worker", "machine", "error"]


class Books(Protocol):
    """Where the dispatcher's decisions are written down."""

    def opened(self, runs: tuple[Run, ...], record: Record) -> None:
        """A run is handed out, or goes on after a relaunch."""

    def epoch(self, runs: tuple[Run, ...], epoch: Epoch) -> None:
        """A run has ended an epoch."""

    def ended(self, runs: tuple[Run, ...], record: Record) -> None:
        """A run has a result: `record`."""

    def known_as(self, runs: tuple[Run, ...], key: str) -> None:
        """A result that is there already belongs to these runs too, or is called otherwise than before."""

    def study_ended(self, studies: tuple[Study, ...], best: str | None) -> None:
        """A search is over, in all the pairs that it counts for; `best` is the key of its best trial."""

    def note(self, message: str) -> None:
        """Something that a person should read."""


class Dispatcher:
    """Hands out the runs of a plan, one `next` at a time, and takes their reports, ends and losses."""

    def __init__(self, plan: Plan, ledger: Ledger, books: Books, shares: Mapping[str, Share]):
        """`shares` is what a run of each pair holds while it trains; "" is for teachers and all other
        pairs.
        """
        self._plan, self._ledger, self._books, self._shares = plan, ledger, books, shares
        self._named = studies_by_key(plan)
        self.studies = {key: StudySearch(plan, trials) for key, trials in ledger.studies.items()}
        self.finals = Finals(plan)
        self.settled: set[str] = set()  # studies whose final runs are known
        self.flights: dict[str, Flight] = {}
        self.busy = 0.0  # seconds that workers have spent on runs that ended
        self.broken = ""  # why the launch cannot go on
        self.restarts = 0  # attempts that were lost or ran out of memory, and were made again
        self._teachers = {planned.key: planned for planned in plan.teachers}
        self._lost_teachers: set[str] = set()
        self._again: deque[Work] = deque()
        self._alone: deque[Work] = deque()
        self._interrupted = [(key, t) for key, s in ledger.studies.items() for t in s.running.values()]
        self._due: deque[str] = deque()
        self._due_defaults = deque(key for key in self.finals.defaults if not ledger.has(key))
        self._look_at_teachers()
        for key in self.studies:
            self._settle(key)

    def next(self, slots: int) -> Work | None:
        """The next run to hand out; None while there is none to hand out before something comes back.

        In this order: what a lost worker or an earlier launch left; teachers; a trial of the least advanced
        study; tuned final runs; default ones; a trial of a study that would learn more from waiting, if
        there is one of `slots` free for it; last, what must run alone.
        """
        return (
            (self._again.popleft() if self._again else None)
            or self._next_interrupted()
            or self._next_teacher()
            or self._next_trial(crowded=False)
            or self._next_final(self._due)
            or self._next_final(self._due_defaults)
            or (self._next_trial(crowded=True) if len(self.flights) < slots else None)
            or (self._alone.popleft() if self._alone else None)
        )

    def report(self, key: str, message: Message) -> bool:
        """A worker reports epochs; returns whether its trial is to be stopped, which then has its result."""
        flight = self.flights.get(key)
        if flight is None:
            return True
        flight.worked(message.busy)
        new = tuple(epoch for epoch in message.epochs if epoch.epoch not in flight.history)
        for epoch in new:
            flight.history[epoch.epoch] = epoch
            self._books.epoch(flight.runs, epoch)
        if flight.record.kind != "trial" or not new:
            return False
        search, number = self.studies[flight.record.study], flight.record.number
        judge = search.stop_resumed if message.resumed else search.stop
        stopped = judge(number, new)
        if stopped:
            self._end(flight, replace(flight.record, state="pruned", time={"time/train_s": flight.seconds}))
        return stopped

    def ended(self, key: str, message: Message) -> None:
        """A worker reports how a training ended. Out of memory beside others: once more, alone."""
        flight = self.flights.get(key)
        if flight is None:
            return
        flight.worked(message.busy)
        outcome = dict(message.outcome or {})
        if outcome["reason"] == "oom" and not flight.work.alone:
            self._books.note(f"{self._name(flight)} ran out of memory; it is tried again alone on its device")
            self._restart(flight, alone=True)
            return
        outcome["history"] = tuple(Epoch(**epoch) for epoch in outcome["history"])
        self._end(flight, replace(flight.record, **outcome))

    def lost(self, key: str, loss: Loss, why: str) -> None:
        """A run will not report any more; `why` is for a person."""
        flight = self.flights.get(key)
        if flight is None:
            return
        flight.losses += loss == "node"
        flight.kills += loss in ("worker", "machine")
        if loss == "error":
            self._fail(flight, "error", why)
        elif flight.kills <= KILLS and flight.losses <= LOSSES:
            if loss == "machine":
                self._books.note(f"{self._name(flight)}: {why}; it is tried again")
            self._restart(flight, alone=flight.work.alone)
        elif loss == "machine":  # no fault of the run's, so no result: every other run would fail alike
            self.broken = why
        else:
            self._fail(flight, "killed", why)

    @property
    def expects_more(self) -> bool:
        """Whether runs like those in flight are still to come, so that an idle worker is worth keeping."""
        return len(self.settled) < len(self.studies) and not self._alone and not self._lonely

    @property
    def _lonely(self) -> bool:
        return any(flight.work.alone for flight in self.flights.values())

    # What is next.

    def _next_interrupted(self) -> Work | None:
        for index, (key, trial) in enumerate(self._interrupted):
            if self._ready(self.studies[key].study.teacher):
                del self._interrupted[index]
                return self._hand_out_trial(key, trial.number, trial.sampled)
        return None

    def _next_teacher(self) -> Work | None:
        for key, planned in self._teachers.items():
            if not (self._ledger.has(key) or key in self._lost_teachers or key in self.flights):
                return self._hand_out("teacher", key, planned.job, (planning.teacher_run(planned),))
        return None

    def _next_trial(self, *, crowded: bool) -> Work | None:
        studies = [
            search
            for search in self.studies.values()
            if search.wants and search.crowded <= crowded and self._ready(search.study.teacher)
        ]
        if not studies:
            return None
        search = min(studies, key=lambda search: search.advance)
        number, sampled = search.ask()
        return self._hand_out_trial(search.study.key, number, sampled)

    def _next_final(self, due: deque[str]) -> Work | None:
        for _ in range(len(due)):
            key = due.popleft()
            final = self.finals.known[key]
            if self._ledger.has(key) or key in self.flights or self._hopeless(final.job.teacher):
                continue
            rival = self.finals.rival(key)
            if self._ready(final.job.teacher) and (self._ready(rival) or self._hopeless(rival)):
                return self._hand_out("final", key, final.job, tuple(final.runs))
            due.append(key)
        return None

    def _hand_out_trial(self, study: str, number: int, sampled: Mapping[str, Scalar]) -> Work:
        runs = tuple(planning.trial_run(self._plan, s, number, sampled) for s in self._named[study])
        job = planning.trial_job(self._plan, self._named[study][0], number, sampled)
        work = self._hand_out("trial", runs[0].key, job, runs, sampled)
        self.studies[study].started(Trial.of(self.flights[work.key].record))
        return work

    def _hand_out(
        self,
        kind: Kind,
        key: str,
        job: Job,
        runs: tuple[Run, ...],
        sampled: Mapping[str, Scalar] | None = None,
    ) -> Work:
        share = self._shares.get(runs[0].pair, self._shares[""])
        keep = kind == "final" and self._plan.suite.students.keep != "none"
        rival = self.finals.rival(key) if kind == "final" else None
        rival = rival if self._ready(rival) else None
        work = Work(kind, key, job, share, keep, self._plan.device, rival)
        record = Record(
            key=key,
            kind=kind,
            state="running",
            method=runs[0].label,
            hyperparameters={
                **job.hyperparameters,
                "lr": job.recipe.lr,
                "weight_decay": job.recipe.weight_decay,
            },
            seed=job.seed,
            study=runs[0].study if kind == "trial" else "",
            number=runs[0].number,
            sampled=dict(sampled or {}),
            job=asdict(job),
            slot=share.slot,
        )
        self.flights[key] = Flight(work, runs, record)
        self._books.opened(runs, record)
        return work

    # What follows.

    def _end(self, flight: Flight, record: Record) -> None:
        del self.flights[record.key]
        self.busy += flight.seconds
        if not record.history:
            record = replace(record, history=tuple(flight.history[e] for e in sorted(flight.history)))
        if record.kind == "trial":
            record = replace(record, rungs=self.studies[record.study].rungs(record.number))
        self._books.ended(flight.runs, record)
        self._ledger.put(record)
        if record.kind == "trial":
            search = self.studies[record.study]
            search.ended(Trial.of(record))
            self._settle(record.study)
        elif record.kind == "teacher" and record.state != "complete":
            self._lost_teacher(record.key, f"teacher {record.method} {record.state}: {record.message}")

    def _fail(self, flight: Flight, reason: Reason, message: str) -> None:
        time = {"time/train_s": flight.seconds}
        self._end(flight, replace(flight.record, state="failed", reason=reason, message=message, time=time))

    def _restart(self, flight: Flight, *, alone: bool) -> None:
        self.restarts += 1
        flight.work = replace(flight.work, alone=alone)
        (self._alone if alone else self._again).append(flight.work)

    def _settle(self, study: str) -> None:
        """Make the final runs of a study known, once it is over."""
        search = self.studies[study]
        if study in self.settled or not search.over:
            return
        self.settled.add(study)
        if search.given_up:
            self._books.note(f"{search.study.label} · {search.study.pair}: given up, {search.given_up}")
        runs = self.finals.settle(study, search.best)
        self._books.study_ended(self._named[study], search.best.key if search.best else None)
        for run in runs:
            if search.best is None:
                self._no_trial(run, search.given_up)
            elif self._ledger.has(run.key):
                self._books.known_as((run,), run.key)
            elif run.key in self.flights:
                self.flights[run.key].runs = tuple(self.finals.known[run.key].runs)
        self._due.extend(self.finals.tuned[study])

    def _no_trial(self, run: Run, why: str) -> None:
        record = Record(
            key=run.key,
            kind="final",
            state="failed",
            method=run.label,
            hyperparameters={},
            seed=run.seed,
            reason="no-trial",
            message=why or "no trial of its study is complete",
        )
        self._books.ended((run,), record)
        self._ledger.put(record)

    def _look_at_teachers(self) -> None:
        for key in self._teachers:
            known = self._ledger.results.get(key)
            if known is not None and known.state == "diverged":
                self._lost_teacher(key, "the training of its teacher diverged")

    def _lost_teacher(self, key: str, why: str) -> None:
        self._lost_teachers.add(key)
        for study, search in self.studies.items():
            if self._key(search.study.teacher) == key:
                search.given_up = why
                self._interrupted = [item for item in self._interrupted if item[0] != study]
                self._settle(study)

    def _ready(self, teacher: Teacher) -> bool:
        key = self._key(teacher)
        return key is None or (self._ledger.has(key) and key not in self._lost_teachers)

    def _hopeless(self, teacher: Teacher) -> bool:
        return self._key(teacher) in self._lost_teachers

    def _key(self, teacher: Teacher) -> str | None:
        """Key of a teacher that this plan trains."""
        return None if isinstance(teacher, ImportedTeacher) else teacher_key(teacher, self._plan.device)

    def _name(self, flight: Flight) -> str:
        return planning.describe(flight.runs[0])
