from pathlib import Path
from typing import Any

import pytest
import yaml

from kdbench import methods, resources
from kdbench.methods.contract import Scalar
from kdbench.training.recipe import Recipe

FOLDER = resources.path("search_spaces")
FILES = sorted(FOLDER.glob("*.yaml"))


def faults(raw: dict[str, Any], defaults: dict[str, Scalar]) -> list[str]:
    """What is wrong with a search space: keys, types, bounds."""
    found = [f"key {key}" for key in raw if key not in ("method", "why", "search")]
    found += [] if isinstance(raw.get("why"), str) and len(raw["why"]) > 40 else ["why"]
    for name, domain in raw["search"].items():
        if name not in defaults:
            found.append(f"{name} is no hyperparameter")
            continue
        kind = "int" if isinstance(defaults[name], int) else "float"
        if set(domain) != {kind, "scale"} or domain["scale"] not in ("log", "linear"):
            found.append(f"{name} has no {kind} and scale")
            continue
        low, high = domain[kind]
        if not (type(low) is type(high) is type(defaults[name]) and low < high):
            found.append(f"{name}: bounds {low!r}, {high!r}")
        elif not low <= defaults[name] <= high:
            found.append(f"{name}: default outside")
        elif domain["scale"] == "log" and not low > 0:
            found.append(f"{name}: log from {low}")
    return found


def test_one_file_per_method_and_the_shared_one() -> None:
    assert {path.stem for path in FILES} == {"_training", *methods.names()}
    assert len(FILES) == len(methods.names()) + 1 >= 23


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_search_space(path: Path) -> None:
    raw = yaml.safe_load(path.read_text())
    assert raw["method"] == path.stem
    if path.stem == "_training":
        assert raw["search"].keys() == {"lr", "weight_decay"}
        defaults: dict[str, Scalar] = {"lr": Recipe().lr, "weight_decay": Recipe().weight_decay}
    else:
        defaults = {name: item.default for name, item in methods.hyperparameters(path.stem).items()}
        fixed = methods.get(path.stem).fixed
        assert raw["search"].keys() == defaults.keys() - set(fixed), "all that is not fixed is searched"
    assert faults(raw, defaults) == []


@pytest.mark.parametrize(
    ("search", "fault"),
    [
        ({"tmperature": {"float": [1.0, 2.0], "scale": "log"}}, "no hyperparameter"),
        ({"temperature": {"float": [5.0, 9.0], "scale": "log"}}, "default outside"),
        ({"temperature": {"float": [0.0, 9.0], "scale": "log"}}, "log from"),
        ({"temperature": {"float": [9.0, 1.0], "scale": "log"}}, "bounds"),
        ({"temperature": {"int": [1, 9], "scale": "log"}}, "no float"),
        ({"temperature": {"float": ["1e-3", 9.0], "scale": "log"}}, "bounds"),
    ],
)
def test_the_check_sees_faults(search: dict[str, Any], fault: str) -> None:
    raw = {"method": "hinton", "why": "x" * 50, "search": search}
    defaults = {name: item.default for name, item in methods.hyperparameters("hinton").items()}
    assert fault in "; ".join(faults(raw, defaults))
