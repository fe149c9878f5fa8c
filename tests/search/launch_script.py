"""A launch in its own process, to be killed by a test: `launch_script.py <home> <folder of plan.json>`.

With `mlflow` as a third argument it tells the state directory's own MLflow store, else nobody.
"""

import sys
from pathlib import Path

from kdbench import plan as planning
from kdbench import search
from kdbench.home import Home
from kdbench.search.progress import Silent


class Nobody:
    """A Tracker that tells nobody."""

    def opened(self, run, record):
        pass

    def epoch(self, run, epoch):
        pass

    def ended(self, run, record, student=None):
        pass

    def reconcile(self, runs):
        list(runs)

    def study_ended(self, study, best):
        pass

    def launch_metrics(self, values):
        pass

    def close(self, outcome):
        return 0


def tracker_of(plan, home):
    if "mlflow" not in sys.argv[3:]:
        return Nobody()
    from kdbench.tracking import Tracker

    return Tracker(plan, uri=home.mlflow_uri, home=home, launch_folder=home.launch(plan.suite.name))


def main():
    home = Home(Path(sys.argv[1]))
    plan = planning.read(Path(sys.argv[2]))
    home.launch(plan.suite.name).mkdir(parents=True, exist_ok=True)
    tracker = tracker_of(plan, home)
    summary = search.launch(
        plan, home=home, tracker=tracker, progress=Silent(), execute="fake_training:execute"
    )
    heavy = [name for name in ("ray", "optuna", "mlflow") if name in sys.modules]
    spooled = tracker.close("finished" if not summary.exit_code else "interrupted")
    print(f"exit={summary.exit_code} nothing={summary.nothing_to_do} heavy={heavy} notes={summary.notes}")
    print(f"spooled={spooled} broken={summary.broken}")
    for line in summary.missing:
        print("missing", line)
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main())
