"""One launch under way: the objects it consists of, `Tuner.fit()`, and what is said at the end."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner

from kdbench.data.source import Part
from kdbench.plan import Plan
from kdbench.search import cluster, decisions
from kdbench.search.books import LaunchBooks
from kdbench.search.clerk import Broken, Clerk
from kdbench.search.decisions import Decisions
from kdbench.search.dispatcher import Dispatcher
from kdbench.search.inventory import inventory, recorded
from kdbench.search.journal import Journal
from kdbench.search.ledger import Ledger
from kdbench.search.locks import Interrupted, Signals
from kdbench.search.measuring import packings
from kdbench.search.progress import Counts, Progress, Summary, Tracker
from kdbench.search.shipping import ship
from kdbench.search.slots import Slots
from kdbench.search.standing import count, rows_of, settled_finals, status_of
from kdbench.search.store import Store
from kdbench.search.tuner import PlanScheduler, PlanSearcher, trainable
from kdbench.search.work import Share
from kdbench.search.worker import Setting

JOURNAL = "optuna.journal"


class Session:
    """A launch from the moment when Ray is needed."""

    def __init__(
        self, plan: Plan, store: Store, ledger: Ledger, folder: Path, tracker: Tracker, progress: Progress
    ):
        self._plan, self._store, self._ledger, self._folder = plan, store, ledger, folder
        self._tracker, self._progress = tracker, progress
        for planned in plan.teachers:
            if not store.has_teacher(planned.key):
                ledger.results.pop(planned.key, None)  # its weights were removed: train it again
        trials = {key: study.trials.values() for key, study in ledger.studies.items()}
        journal = Journal(folder / JOURNAL, plan.studies, trials)
        self._clerk = Clerk(store, journal, tracker)
        self._books = LaunchBooks(self._clerk, progress)
        self._decisions = Decisions()
        self._dispatcher: Dispatcher | None = None  # known when Ray has said what there is
        self._slots: Slots | None = None
        self._began = time.monotonic()

    def run(self, address: str | None, execute: str, signals: Signals) -> Summary:
        """Run what is missing. Returns what there is then, also when it was interrupted or cannot go on."""
        try:
            self._run(address, execute, signals)
        except Broken as problem:
            return self._known(signals.number, broken=str(problem))
        return self._summary(signals.number)

    def _run(self, address: str | None, execute: str, signals: Signals) -> None:
        try:
            self._progress.note("Ray is starting")
            with cluster.connected(address):
                signals.install()  # Ray has taken SIGTERM when it started
                self._fit(execute, signals)
        except (Interrupted, SystemError):  # compiled code makes a SystemError of it
            if not signals.number:
                raise
        finally:
            shutil.rmtree(self._folder / "ray", ignore_errors=True)
            self._clerk.close()  # where that raises, it is why Tune did

    def _fit(self, execute: str, signals: Signals) -> None:
        images = ship(self._plan.suite.dataset)
        shares = self._shares(images)
        slots = Slots(max(shares.values(), key=lambda share: (share.gpu, share.cpu)))
        self._dispatcher = dispatcher = Dispatcher(self._plan, self._ledger, self._books, shares)
        self._slots = slots
        self._books.count = lambda: self._count(dispatcher)
        known = inventory(self._plan, self._ledger, dispatcher.finals)
        self._clerk.do(lambda: self._tracker.reconcile(recorded(known, self._store.records())))
        searcher = PlanSearcher(dispatcher, slots, self._decisions)
        uniform = len(set(shares.values())) == 1
        keep = lambda: uniform and dispatcher.expects_more  # noqa: E731
        scheduler = PlanScheduler(searcher, slots, keep, lambda: self._check(dispatcher, signals))
        if not slots.now():
            self._books.note("no node has room for a run now: waiting for the cluster to grow")
        signals.deferred = True
        self._tuner(self._setting(execute, images), searcher, scheduler).fit()

    def _check(self, dispatcher: Dispatcher, signals: Signals) -> None:
        """Raise what ends the launch early."""
        signals.check()
        self._clerk.check()
        if dispatcher.broken:
            raise Broken(dispatcher.broken)

    def _shares(self, images: Mapping[Part, Any]) -> dict[str, Share]:
        """What a run of each pair holds; "" is for teachers."""
        resources, cuda = self._plan.suite.resources, self._plan.device == "cuda"
        if resources != "auto":
            return {"": Share(resources.cpu, resources.gpu if cuda else 0.0)}
        if not cuda:
            self._books.note("resources: auto: there is no GPU; every run has one core")
            return {"": Share()}
        total = ray.cluster_resources()
        shares = {}
        for pair, packing in packings(self._plan, images).items():
            self._books.note(f"resources: auto: {pair}: {packing.runs} on one GPU; {packing.why}")
            shares[pair] = packing.share(total.get("CPU", 1.0), total.get("GPU", 1.0))
        return {**shares, "": max(shares.values(), key=lambda share: share.gpu)}

    def _setting(self, execute: str, images: Mapping[Part, Any]) -> Setting:
        dataset = self._plan.suite.dataset
        return Setting(
            home=str(self._store.home.root),
            storage=self._store.uri,
            dataset=dataset,
            facts=self._plan.facts,
            images=images,
            execute=execute,
        )

    def _tuner(self, setting: Setting, searcher: PlanSearcher, scheduler: PlanScheduler) -> Tuner:
        return Tuner(
            trainable(setting),
            tune_config=TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,  # the searcher says when it is over
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=RunConfig(
                name="tune",
                storage_path=str(self._folder / "ray"),
                verbose=0,
                failure_config=FailureConfig(max_failures=0),  # the dispatcher decides what is tried again
            ),
        )

    def _count(self, dispatcher: Dispatcher) -> Counts:
        rows = list(rows_of(self._plan, self._ledger, dispatcher.finals))
        counts = count(self._plan, self._ledger, rows)
        dropped = sum(search.dropped for search in dispatcher.studies.values())
        elapsed = time.monotonic() - self._began
        counts = replace(
            counts, trials=counts.trials - dropped, running=len(dispatcher.flights), elapsed=elapsed
        )
        return replace(counts, remaining=self._remaining(counts))

    def _remaining(self, counts: Counts) -> float | None:
        """Seconds left if the epochs to come take as long as those of this launch so far; chains count as
        one.
        """
        if not self._books.epochs or self._slots is None:
            return None
        full = self._plan.suite.training.epochs
        ended = self._books.trial_epochs
        per_trial = sum(ended) / len(ended) if ended else full
        left = (counts.trials - counts.trials_done) * per_trial + (counts.finals - counts.finals_done) * full
        left += (counts.teachers - counts.teachers_done) * self._plan.suite.teacher.epochs
        return left * self._slots.elapsed / self._books.epochs

    def _summary(self, interrupted: int) -> Summary:
        if self._dispatcher is None:
            return self._known(interrupted)
        known = status_of(self._plan, self._ledger, self._dispatcher.finals)
        counts = self._count(self._dispatcher)
        self._progress.counts(counts)
        metrics = self._metrics(self._dispatcher)
        decisions.write(self._folder, metrics)
        self._tracker.launch_metrics(metrics)
        return Summary(
            counts,
            missing=known.missing,
            notes=tuple(self._books.notes),
            interrupted=interrupted,
            utilisation=metrics.get("utilisation"),
        )

    def _known(self, interrupted: int, broken: str = "") -> Summary:
        known = status_of(self._plan, self._ledger, settled_finals(self._plan, self._ledger))
        notes = tuple(self._books.notes)
        return Summary(known.counts, known.missing, notes, interrupted=interrupted, broken=broken)

    def _metrics(self, dispatcher: Dispatcher) -> dict[str, float]:
        metrics = self._decisions.metrics()
        metrics |= {"restarts": dispatcher.restarts, "busy_slot_s": dispatcher.busy}
        if self._slots is not None and self._slots.available:
            metrics["available_slot_s"] = self._slots.available
            metrics["utilisation"] = dispatcher.busy / self._slots.available
        return metrics
