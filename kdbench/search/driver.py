"""A launch: the missing work of a plan through one `Tuner.fit()`, from the records to the summary."""

from kdbench.home import Home
from kdbench.plan import Plan
from kdbench.search import cluster
from kdbench.search.inventory import inventory, recorded
from kdbench.search.ledger import Ledger
from kdbench.search.locks import Interrupted, Signals
from kdbench.search.progress import Progress, Summary, Tracker
from kdbench.search.standing import settled_finals, status_of
from kdbench.search.store import Store


def launch(
    plan: Plan, *, home: Home, tracker: Tracker, address: str | None, progress: Progress, execute: str
) -> Summary:
    """See `kdbench.search.launch`; `execute` is the function that trains, as "module:function"."""
    folder = home.launch(plan.suite.name)
    store = Store(plan, home)
    store.fetch()
    ledger = Ledger(plan, store.records())
    finals = settled_finals(plan, ledger)
    known = status_of(plan, ledger, finals)
    if known.done:
        tracker.reconcile(recorded(inventory(plan, ledger, finals), store.records()))
        return Summary(known.counts, nothing_to_do=True)
    cluster.prepare()
    with Signals() as signals:
        try:
            from kdbench.search.session import Session  # imports Ray and Optuna, which takes seconds
        except Interrupted:
            return Summary(known.counts, missing=known.missing, interrupted=signals.number)
        return Session(plan, store, ledger, folder, tracker, progress).run(address, execute, signals)
