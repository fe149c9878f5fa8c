"""Every default and searched range, number by number, as the papers' code or the mission's table has it."""

import pytest
import yaml

from kdbench import methods, resources

LOG, LINEAR = "log", "linear"
Setting = tuple[float, float, float, str]  # default, low, high, scale

HINTON: dict[str, Setting] = {"temperature": (4.0, 1.0, 20.0, LOG), "alpha": (0.9, 0.0, 1.0, LINEAR)}
INIT_LR: Setting = (0.01, 1e-3, 0.1, LOG)
INIT_SHARE: Setting = (0.2, 0.05, 0.5, LINEAR)
DISTANCE: Setting = (25.0, 1.0, 200.0, LOG)
ANGLE: Setting = (50.0, 1.0, 400.0, LOG)
MOVED: dict[str, Setting] = {
    "alpha": (3.0, 0.0, 6.0, LINEAR),
    "beta": (2.0, 0.0, 4.0, LINEAR),
    "temperature": (3.0, 1.0, 10.0, LINEAR),
    "base_samples": (64, 8, 128, LINEAR),
}
STEP_SIZE: dict[str, Setting] = {"step_size": (0.3, 0.05, 2.0, LOG)}
MAX_STEPS: dict[str, Setting] = {"max_steps": (10, 1, 20, LINEAR)}

SEARCHED: dict[str, dict[str, Setting]] = {
    "original": {},
    "hinton": HINTON,
    "fitnet": HINTON
    | {"beta": (1.0, 0.1, 100.0, LOG), "hint_share": (0.25, 0.1, 0.5, LINEAR), "init_lr": INIT_LR},
    "fitnet-1s": HINTON | {"beta": (100.0, 1.0, 1000.0, LOG)},
    "at": HINTON | {"beta": (1000.0, 10.0, 1e4, LOG)},
    "fsp": HINTON | {"beta": (1.0, 0.01, 100.0, LOG), "init_share": INIT_SHARE, "init_lr": INIT_LR},
    "rkd": HINTON | {"lambda_distance": DISTANCE, "lambda_angle": ANGLE},
    "rkd-d": HINTON | {"lambda_distance": DISTANCE},
    "rkd-a": HINTON | {"lambda_angle": ANGLE},
    "ab": {
        "temperature": (3.0, 1.0, 20.0, LOG),
        "alpha": (1.0, 0.0, 1.0, LINEAR),
        "margin": (1.0, 0.1, 3.0, LOG),
        "beta": (1.0, 0.01, 100.0, LOG),
        "init_share": INIT_SHARE,
        "init_lr": INIT_LR,
    },
    "bss": MOVED | STEP_SIZE | MAX_STEPS | {"epsilon": (1e-4, 1e-5, 0.1, LOG)},
    "adv-noise": MOVED | STEP_SIZE,
    "adv-fgsm": MOVED | STEP_SIZE,
    "adv-bim": MOVED | STEP_SIZE | MAX_STEPS,
    "adv-deepfool": MOVED | MAX_STEPS,
    "adv-cw": MOVED | STEP_SIZE | MAX_STEPS,
    "byot": {
        "alpha": (0.3, 0.05, 0.9, LINEAR),
        "lambda_": (1e-4, 1e-6, 1e-2, LOG),
        "temperature": (3.0, 1.0, 8.0, LINEAR),
    },
    "ban": {},
    "ban-cwtm": {},
    "ban-dkpp": {},
    "label-refinery": {},
    "specialists": HINTON,
}
FIXED = {
    "ban": {"generations": 1},
    "ban-cwtm": {"generations": 1},
    "ban-dkpp": {"generations": 1},
    "label-refinery": {"generations": 2},
    # 0: the greater of 2 and ⌈C / clusters⌉ classes, a quarter of the epochs
    "specialists": {"clusters": 3, "classes_per_specialist": 0, "specialist_epochs": 0},
}
# The published tables have no soft targets beside these.
WITHOUT_SOFT_TARGETS = ("fitnet", "fitnet-1s", "at", "fsp", "rkd", "rkd-d", "rkd-a", "ab")


def test_every_method_is_written_down() -> None:
    assert SEARCHED.keys() == set(methods.names())


@pytest.mark.parametrize("label", SEARCHED)
def test_defaults_and_ranges(label: str) -> None:
    defaults = {name: item.default for name, item in methods.hyperparameters(label).items()}
    assert defaults == {name: row[0] for name, row in SEARCHED[label].items()} | FIXED.get(label, {})
    search = yaml.safe_load((resources.path("search_spaces") / f"{label}.yaml").read_text())["search"]
    found = {}
    for name, domain in search.items():
        (kind,) = domain.keys() - {"scale"}
        assert kind == type(defaults[name]).__name__
        found[name] = (defaults[name], *domain[kind], domain["scale"])
    assert found == SEARCHED[label]


def test_the_shared_ranges() -> None:
    search = yaml.safe_load((resources.path("search_spaces") / "_training.yaml").read_text())["search"]
    assert search == {
        "lr": {"float": [1e-3, 0.5], "scale": LOG},
        "weight_decay": {"float": [1e-5, 5e-3], "scale": LOG},
    }


@pytest.mark.parametrize("label", SEARCHED)
def test_the_setting_of_the_published_tables(label: str) -> None:
    assert methods.get(label).published == ({"alpha": 0.0} if label in WITHOUT_SOFT_TARGETS else {})
