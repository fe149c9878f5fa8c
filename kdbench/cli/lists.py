"""`kdbench list`: what there is."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer

from kdbench.errors import UserError, mistake

Row = Mapping[str, Any]


def show(what: str, *, as_json: bool) -> None:
    """Print every method, space, dataset, model or suite. Raises UserError for another word."""
    if what not in _KINDS:
        raise UserError([mistake("list", what, " | ".join(_KINDS), names=_KINDS)])
    rows = list(_KINDS[what]())
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    widths = {name: max(len(str(row[name])) for row in [*rows, {name: name}]) for name in rows[0]}
    for row in [{name: name.upper() for name in widths}, *rows]:
        typer.echo("  ".join(f"{row[name]!s:{width}}" for name, width in widths.items()).rstrip())


def _methods() -> Iterator[Row]:
    from kdbench import methods

    for label in methods.names():
        method = methods.get(label)
        values = methods.hyperparameters(label).values()
        yield {
            "method": label,
            "teacher": method.teacher,
            "source": method.source,
            "hyperparameters": ", ".join(f"{item.name}={item.default}" for item in values),
        }


def _spaces() -> Iterator[Row]:
    from kdbench import methods
    from kdbench.search import spaces

    yield from _space("(all)", spaces.training())
    for label in methods.names():
        yield from _space(label, spaces.of_method(label))


def _space(label: str, space: Mapping[str, Any]) -> Iterator[Row]:
    for name, domain in space.items():
        choices = domain.choices or (domain.low, domain.high)
        kind = domain.kind if domain.scale == "linear" else f"{domain.kind}, {domain.scale}"
        yield {"method": label, "parameter": name, "range": ", ".join(map(str, choices)), "kind": kind}


def _datasets() -> Iterator[Row]:
    from kdbench import data

    for name in data.names():
        yield {"dataset": name}


def _models() -> Iterator[Row]:
    from kdbench import models

    for form in models.forms():
        yield {"model": form}


def _suites() -> Iterator[Row]:
    from kdbench import resources, yamlfile

    for path in sorted(resources.path("suites").glob("*.yaml")):
        suite = yamlfile.read(path, what="a suite")
        comment = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        yield {"suite": path.stem, "dataset": _dataset_name(suite["dataset"]), "what": comment}


def _dataset_name(dataset: Any) -> str:
    return str(dataset["name"]) if isinstance(dataset, dict) else str(dataset)


_KINDS: Mapping[str, Callable[[], Iterator[Row]]] = {
    "methods": _methods,
    "spaces": _spaces,
    "datasets": _datasets,
    "models": _models,
    "suites": _suites,
}
