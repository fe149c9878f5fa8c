"""The final runs of a plan: which are known, which are still to run, whose they are."""

from dataclasses import dataclass, field, replace

from kdbench import plan as planning
from kdbench.keys import content_key
from kdbench.plan import FinalSlot, Plan, Run
from kdbench.plan.jobs import teacher_of
from kdbench.search.trial import Trial
from kdbench.training.job import ImportedTeacher, Job, job_key


@dataclass
class Final:
    """One training, and every row of the leaderboard that it belongs to."""

    job: Job
    runs: list[Run] = field(default_factory=list)


class Finals:
    """Final runs by key. Those of the default configuration are known at once, tuned ones when their study
    is over.
    """

    def __init__(self, plan: Plan):
        self._plan = plan
        self.known: dict[str, Final] = {}
        self.tuned: dict[str, tuple[str, ...]] = {}  # study -> keys, of the studies that are settled
        self.of_slot: dict[FinalSlot, Run] = {}  # of the studies that are settled
        for run, job in plan.defaults:
            self.known.setdefault(run.key, Final(job)).runs.append(run)
        self.defaults: tuple[str, ...] = tuple(self.known)

    def settle(self, study: str, best: Trial | None) -> list[Run]:
        """A study is over, with this best trial; returns the runs known by that, new or under a new name.

        Where the tuned configuration is the default one, both are one run, `tuned,default`. Without a best
        trial the runs get keys of their own and can only be recorded as failed.
        """
        slots = [slot for slot in self._plan.finals if slot.study == study]
        for slot in slots:
            if best is None:
                self.of_slot[slot] = planning.tuned_run(self._plan, slot, _no_key(slot), "tuned")
            else:
                self.of_slot[slot] = self._add(slot, best)
        runs = [self.of_slot[slot] for slot in slots]
        self.tuned[study] = tuple(dict.fromkeys(run.key for run in runs)) if best else ()
        return runs

    def rival(self, key: str) -> Job | ImportedTeacher | None:
        """The teacher that a final run is compared with: its pair's, if that is imported or in the plan.

        A run that stands for several pairs is compared with nobody: its one record cannot tell them apart.
        """
        pairs = {run.pair for run in self.known[key].runs}
        found = [pair for pair in self._plan.suite.pairs if pair.title in pairs]
        if len(found) != 1:
            return None
        fraction = self.known[key].job.split.fraction
        teacher = teacher_of(self._plan.suite, self._plan.facts, found[0], "pair", fraction)
        planned = {item.key for item in self._plan.teachers}
        trained = isinstance(teacher, Job) and job_key(teacher, self._plan.device) in planned
        return teacher if trained or isinstance(teacher, ImportedTeacher) else None

    def _add(self, slot: FinalSlot, best: Trial) -> Run:
        study = next(study for study in self._plan.studies if study.key == slot.study)
        job = planning.final_job(self._plan, slot, {**study.default, **best.sampled})
        key = job_key(job, self._plan.device)
        final = self.known.setdefault(key, Final(job))
        for index, run in enumerate(final.runs):
            if run.config == "default" and (run.pair, run.label) == (slot.pair, slot.label):
                final.runs[index] = replace(run, config="tuned,default")
                return final.runs[index]
        final.runs.append(planning.tuned_run(self._plan, slot, key, "tuned"))
        return final.runs[-1]


def _no_key(slot: FinalSlot) -> str:
    return content_key({"no-trial": slot})
