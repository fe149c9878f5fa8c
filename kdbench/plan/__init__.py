"""Suite -> Plan: everything a launch will do, as frozen values, before anything runs."""

from kdbench.plan.build import make_plan
from kdbench.plan.changes import changes
from kdbench.plan.runs import final_job, teacher_run, trial_job, trial_key, trial_run, tuned_run
from kdbench.plan.store import PLAN_FILE, read, write
from kdbench.plan.values import Config, FinalSlot, Plan, PlannedTeacher, Run, Study
from kdbench.plan.words import describe, percent, protocol, slug

__all__ = [
    "PLAN_FILE",
    "Config",
    "FinalSlot",
    "Plan",
    "PlannedTeacher",
    "Run",
    "Study",
    "changes",
    "describe",
    "final_job",
    "make_plan",
    "percent",
    "protocol",
    "read",
    "slug",
    "teacher_run",
    "trial_job",
    "trial_key",
    "trial_run",
    "tuned_run",
    "write",
]
