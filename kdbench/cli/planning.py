"""From what a user typed to a plan; every mistake names its file, even where only the data show it."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from kdbench import data, plan, suite
from kdbench.errors import Mistake, UserError, mistake
from kdbench.home import Home
from kdbench.plan import Plan
from kdbench.search.cluster import check_address
from kdbench.suite import Suite


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A plan and what it was made of."""

    plan: Plan
    labels: torch.Tensor  # of the training split
    file: Path  # the suite's


def prepare(
    name: str,
    sets: Sequence[str],
    address: str | None,
    obstacles: Callable[[Suite], Iterable[Mistake]] = lambda suite: (),
) -> Prepared:
    """The plan of a suite file or a built-in suite.

    Raises UserError with all mistakes in it, and the `obstacles` that a launch of it would meet here.
    """
    check_address(address)
    wanted, found = suite.inspect(name, sets)
    if wanted is None:
        raise UserError(found)
    file = suite.locate(name)
    with in_file(file):
        found += obstacles(wanted)
        try:
            facts = data.facts(wanted.dataset)
            labels = data.load_training(wanted.dataset).labels
            device = "cpu" if found else device_of(wanted, address)
            made = plan.make_plan(wanted, facts, labels.numpy(), device)
        except UserError as error:
            found += _more(error, found)
            raise UserError(found) from None
        if found:
            raise UserError(found)
    return Prepared(made, labels, file)


def _more(error: UserError, found: Sequence[Mistake]) -> list[Mistake]:
    """What `error` adds to the mistakes found before; where pairs or methods are faulty, not about these."""
    lists = ("pairs", "methods")
    faulty = any(item.key.partition(".")[0] in lists for item in found)
    return [item for item in error.mistakes if not (faulty and item.key.partition(".")[0] in lists)]


@contextmanager
def in_file(file: Path) -> Iterator[None]:
    """Name `file` in the mistakes that are found inside and name none."""
    try:
        yield
    except UserError as error:
        mistakes = [dataclasses.replace(item, file=item.file or str(file)) for item in error.mistakes]
        raise UserError(mistakes) from None


def device_of(wanted: Suite, address: str | None) -> str:
    """The type of device that the suite's trainings run on: part of every key."""
    if wanted.resources != "auto":
        return "cuda" if wanted.resources.gpu else "cpu"
    if address is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if _has_gpu(address) else "cpu"


def _has_gpu(address: str) -> bool:
    """Whether the cluster at `address` has a GPU somewhere."""
    from kdbench.search import cluster

    cluster.prepare()
    import ray

    with cluster.connected(address):
        return bool(ray.cluster_resources().get("GPU", 0))


def launched(name: str, home: Home) -> str:
    """The launched suite that `name`, a name or a suite file, means. Raises UserError where there is none."""
    known = launches(home)
    if name in known:
        return name
    if os.sep in name or name.endswith((".yaml", ".yml")):
        name = suite.load(name).name
    if name in known:
        return name
    allowed = f"a suite that was launched in {home.root}: {', '.join(known) or 'none was'}"
    raise UserError([mistake("suite", name, allowed, names=known)])


def launches(home: Home) -> tuple[str, ...]:
    """The suites that have a plan in this state directory."""
    return tuple(sorted(path.parent.name for path in home.root.glob(f"launches/*/{plan.PLAN_FILE}")))
