"""What pydantic cannot see: names of methods and models, and keys that contradict each other.

Every check takes the suite in normal form before it is validated, passes over what has the wrong type
(pydantic reports that) and yields a Mistake for each thing wrong: all are found in one pass.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdbench import methods, models
from kdbench.errors import Mistake, RangeError, UserError, mistake
from kdbench.search.spaces import SHARED, SHARED_NAMES, fits, training
from kdbench.suite.schema import Search
from kdbench.training.recipe import Recipe

Raw = Mapping[str, Any]


def all_of(raw: Raw, file: str) -> Iterator[Mistake]:
    """Every check that needs no file but the suite."""
    for check in (_models, _teachers, _pairs, _methods, _fractions, _shared, _grace, _omitted, _resources):
        for found in check(raw):
            yield replace(found, file=file)


def files(raw: Raw, file: str) -> Iterator[Mistake]:
    """Weights that are not there; their paths are absolute by now."""
    for index, pair in enumerate(items(raw, "pairs")):
        weights = _teacher(pair).get("weights")
        if isinstance(weights, str) and not Path(weights).is_file():
            yield Mistake(
                f"pairs.{index}.teacher.weights", repr(weights), "an existing safetensors file", file
            )


def items(raw: Raw, key: str) -> list[Any]:
    """The list under `key`; empty where there is none."""
    return raw[key] if isinstance(raw.get(key), list) else []


def section(raw: Raw, key: str) -> Raw:
    """The mapping under `key`; empty where there is none."""
    return raw[key] if isinstance(raw.get(key), Mapping) else {}


def numbers(value: Any) -> list[float]:
    """The numbers in a list."""
    return [item for item in value if fits(item, 0.0)] if isinstance(value, list) else []


def labels(raw: Raw) -> dict[str, str | None]:
    """Label -> method of every entry; None where there is no such method."""
    found = {}
    for entry in items(raw, "methods"):
        if isinstance(entry, Mapping) and isinstance(entry.get("as"), str):
            method = entry.get("method")
            known = isinstance(method, str) and not list(_unknown_method(method, ""))
            found[entry["as"]] = method if known else None
    return found


def shared(raw: Raw) -> dict[str, float]:
    """The suite's `lr` and `weight_decay`, the defaults of what all methods search."""
    training = section(raw, "training")
    given = {name: training[name] for name in SHARED_NAMES if fits(training.get(name), 0.0)}
    return {name: float(given.get(name, getattr(Recipe(), name))) for name in SHARED_NAMES}


def _teacher(pair: Any) -> Raw:
    return section(pair, "teacher") if isinstance(pair, Mapping) else {}


def _models(raw: Raw) -> Iterator[Mistake]:
    for index, pair in enumerate(items(raw, "pairs")):
        student = pair.get("student") if isinstance(pair, Mapping) else None
        for key, name in (("teacher.model", _teacher(pair).get("model")), ("student", student)):
            found = models.check(name) if isinstance(name, str) else None
            if found is not None:
                yield replace(found, key=f"pairs.{index}.{key}")


def _teachers(raw: Raw) -> Iterator[Mistake]:
    for index, pair in enumerate(items(raw, "pairs")):
        teacher, key = _teacher(pair), f"pairs.{index}.teacher"
        mean, std = teacher.get("mean"), teacher.get("std")
        if (mean is None) != (std is None) or (
            isinstance(mean, list) and isinstance(std, list) and len(mean) != len(std)
        ):
            yield Mistake(
                key, f"mean {mean}, std {std}", "mean and std together, one number each per channel"
            )
        elif mean is not None and teacher.get("weights") is None:
            yield Mistake(
                f"{key}.mean", repr(mean), "mean and std only with weights: they are an imported teacher's"
            )


def _pairs(raw: Raw) -> Iterator[Mistake]:
    titles = []
    for pair in items(raw, "pairs"):
        teacher = _teacher(pair)
        student = pair.get("student") if isinstance(pair, Mapping) else None
        name = teacher.get("name") or teacher.get("model")
        if isinstance(name, str) and isinstance(student, str):
            titles.append(f"{name}->{student}")
    for found, count in Counter(titles).items():
        if count > 1:
            allowed = "each pair once; a teacher may be told apart by a name of its own"
            yield Mistake("pairs", f"{found} {count} times", allowed)


def _methods(raw: Raw) -> Iterator[Mistake]:
    seen = set()
    for index, entry in enumerate(items(raw, "methods")):
        if not isinstance(entry, Mapping):
            continue
        key = f"methods.{index}"
        unknown = list(_unknown_method(entry.get("method"), f"{key}.method"))
        yield from unknown
        label = entry.get("as")
        if isinstance(label, str) and label in seen:
            yield Mistake(
                f"{key}.as", repr(label), "each label once: name a second entry of a method with `as:`"
            )
        if isinstance(label, str):
            seen.add(label)
        if not unknown and isinstance(entry.get("method"), str):
            yield from _fixed(entry["method"], section(entry, "fixed"), f"{key}.fixed")


def _unknown_method(name: Any, key: str) -> Iterator[Mistake]:
    if not isinstance(name, str):
        return
    try:
        methods.hyperparameters(name)
    except UserError as error:
        for found in error.mistakes:
            yield replace(found, key=key)


def _fixed(method: str, fixed: Raw, key: str) -> Iterator[Mistake]:
    known = {name: item.default for name, item in methods.hyperparameters(method).items()}
    known |= {name: getattr(Recipe(), name) for name in SHARED_NAMES}
    for name, value in fixed.items():
        where = f"{key}.{name}"
        if name not in known:
            yield mistake(where, name, f"one of {', '.join(known)}", names=known)
        elif not fits(value, known[name]):
            yield mistake(where, value, f"a value such as {known[name]!r}")
        else:
            try:
                if name in SHARED_NAMES:
                    Recipe(**{name: value})
                else:
                    methods.make(method, {name: value})
            except RangeError as error:
                yield mistake(where, value, error.allowed)


def _fractions(raw: Raw) -> Iterator[Mistake]:
    fractions = numbers(raw.get("fractions", [1.0]))
    searched = numbers(section(raw, "search").get("fractions"))
    for key, values in (("fractions", fractions), ("search.fractions", searched)):
        for value, count in Counter(values).items():
            if count > 1:
                yield Mistake(key, f"{value} {count} times", "each fraction once")
    for value in searched:
        if value not in fractions:
            yield mistake("search.fractions", value, f"those of fractions: {', '.join(map(str, fractions))}")


def _shared(raw: Raw) -> Iterator[Mistake]:
    """Defaults of what all methods search that lie outside the range that is searched."""
    replaced = section(raw, "spaces")
    for name, value in shared(raw).items():
        free = [
            entry
            for entry in items(raw, "methods")
            if isinstance(entry, Mapping)
            and name not in section(entry, "fixed")
            and name not in section(replaced, str(entry.get("as")))
        ]
        domain = training()[name]
        if free and name not in section(replaced, SHARED) and not domain.contains(value):
            allowed = f"in [{domain.low:g}, {domain.high:g}], or with a range of your own: "
            yield mistake(f"training.{name}", value, allowed + f"`spaces: {{{SHARED}: {{{name}: …}}}}`")


def _grace(raw: Raw) -> Iterator[Mistake]:
    search = {**Search().model_dump(), **section(raw, "search")}
    grace, epochs = search["grace_epochs"], section(raw, "training").get("epochs", Recipe().epochs)
    if search["scheduler"] == "asha" and fits(grace, 1) and fits(epochs, 1) and grace >= epochs >= 1:
        allowed = f"an integer below training.epochs, which is {epochs} (or scheduler: none)"
        yield mistake("search.grace_epochs", grace, allowed)


def _omitted(raw: Raw) -> Iterator[Mistake]:
    omitted = section(raw, "data").get("omit_classes")
    if isinstance(omitted, list) and len({repr(item) for item in omitted}) < len(omitted):
        yield mistake("data.omit_classes", omitted, "each class once")


def _resources(raw: Raw) -> Iterator[Mistake]:
    gpu = section(raw, "resources").get("gpu")
    if isinstance(gpu, float) and gpu > 1 and not gpu.is_integer():
        yield mistake("resources.gpu", gpu, "0, a share of a GPU below 1, or a whole number of GPUs")
