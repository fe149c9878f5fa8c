"""`kdbench launch --dry-run`: the plan and what it costs, before anything runs."""

import os

import torch
import typer

from kdbench.cli.planning import Prepared
from kdbench.cli.words import counted, duration, size
from kdbench.home import Home
from kdbench.plan import Plan, percent
from kdbench.plan.estimate import Estimate, estimate
from kdbench.search.ledger import read
from kdbench.search.store import state_home


def show(prepared: Prepared, state: Home, address: str | None) -> None:
    """Print the plan of a suite: studies, trials, epochs, final runs, estimated time and disk."""
    plan = prepared.plan
    here = plan.device == "cpu" or torch.cuda.is_available()
    earlier = read(state_home(plan, state).results)
    cost = estimate(plan, prepared.labels, earlier, plan.device if here else None)
    for line in [*_what(plan), *_how_much(plan, cost, local=address is None)]:
        typer.echo(line)


def _what(plan: Plan) -> list[str]:
    suite, facts = plan.suite, plan.facts
    lines = [
        f"{suite.name}: {facts.name} ({facts.train_size} training and {facts.test_size} test images, "
        f"{len(facts.classes)} classes), on {plan.device}",
        f"pairs        {', '.join(pair.title.replace('->', ' → ') for pair in suite.pairs)}",
        f"methods      {', '.join(entry.label for entry in suite.methods)}",
        f"fractions    {', '.join(map(percent, suite.fractions))}; "
        f"searched at {', '.join(map(percent, suite.search.fractions))}",
    ]
    for study in plan.studies:
        space = ", ".join(study.space) or "nothing"
        lines.append(f"study        {study.label} · {study.pair} · {percent(study.fraction)}: {space}")
    return lines


def _how_much(plan: Plan, cost: Estimate, *, local: bool) -> list[str]:
    time = cost.measured
    if cost.seconds is not None:
        slots = _slots(plan) if local else None
        wall = (
            f", about {duration(cost.seconds / slots)} on the {counted(slots, 'slot')} here" if slots else ""
        )
        time = f"about {duration(cost.seconds)} of device time{wall} ({cost.measured})"
    return [
        f"teachers     {cost.teachers}",
        f"search       {counted(cost.studies, 'study')}, {counted(cost.trials, 'trial')}",
        f"final runs   {cost.tuned_finals} tuned, {cost.default_finals} default",
        f"epochs       {cost.epochs} at most",
        f"time         {time}",
        f"disk         about {size(cost.disk)}",
    ]


def _slots(plan: Plan) -> int | None:
    """Trainings at once on this machine; None where only a measurement would tell."""
    share = plan.suite.resources
    if share == "auto":
        return None
    slots = (os.cpu_count() or 1) / share.cpu
    if share.gpu:
        slots = min(slots, torch.cuda.device_count() / share.gpu)
    return int(slots + 1e-9) or None
