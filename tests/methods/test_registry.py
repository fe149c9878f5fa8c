import math
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from torch import Tensor

from kdbench import methods
from kdbench.errors import RangeError, UserError
from kdbench.methods.contract import Batch, Method, Network, Scalar, hyperparameter, method


def test_every_method_of_the_mission_is_there() -> None:
    assert set(methods.names()) >= {
        *(
            "original",
            "hinton",
            "fitnet",
            "fitnet-1s",
            "at",
            "fsp",
            "rkd",
            "rkd-d",
            "rkd-a",
            "ab",
            "bss",
            "byot",
        ),
        *("adv-noise", "adv-fgsm", "adv-bim", "adv-deepfool", "adv-cw"),
        *("ban", "ban-cwtm", "ban-dkpp", "label-refinery", "specialists"),
    }


def test_a_label_is_taken_once() -> None:
    with pytest.raises(ValueError, match="'hinton' is registered, by Hinton"):

        @method("hinton", source="nowhere")
        @dataclass(frozen=True)
        class Again(Method):
            def losses(self, batch: Batch) -> dict[str, Tensor]:
                return {}


def test_a_class_that_is_no_frozen_dataclass_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a frozen dataclass"):

        @method("plain", source="nowhere")
        class Plain(Method):
            def losses(self, batch: Batch) -> dict[str, Tensor]:
                return {}

    assert "plain" not in methods.names()


def test_hyperparameters_have_type_default_and_words() -> None:
    found = methods.hyperparameters("bss")["max_steps"]
    assert (found.name, found.type, found.default) == ("max_steps", int, 10)
    assert found.comment == ">= 1; updates of a sample before it is given up"


def test_a_comment_is_not_a_default() -> None:
    @dataclass(frozen=True)
    class Example:
        width: float = hyperparameter(2.5, "> 0; metres")

    assert Example().width == 2.5


def test_values_take_the_declared_type() -> None:
    """20 and 20.0 are one setting: the key of a result must not depend on how it was spelt."""
    resolved = methods.resolve("hinton", {"temperature": 20})
    assert resolved == {"temperature": 20.0, "alpha": 0.9}
    assert type(resolved["temperature"]) is float
    assert type(methods.resolve("bss", {"max_steps": 3.0})["max_steps"]) is int


@pytest.mark.parametrize(
    ("values", "messages"),
    [
        ({"temprature": 2}, ["did you mean 'temperature'?"]),
        ({"temperature": "hot"}, ["given 'hot'; allowed: a value of type float"]),
        ({"temperature": True}, ["given True"]),
        ({"temperature": math.nan}, ["temperature: given nan; allowed: > 0"]),
        ({"alpha": math.inf}, ["alpha: given inf; allowed: in [0, 1]"]),
        ({"alpha": 1.5, "temprature": 2}, ["alpha: given 1.5", "did you mean"]),
    ],
)
def test_all_mistakes_at_once(values: Mapping[str, Scalar], messages: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        methods.resolve("hinton", values)
    assert len(caught.value.mistakes) == len(values)
    for message in messages:
        assert message in str(caught.value)


@pytest.mark.parametrize("value", [2.5, math.nan, math.inf, "3"])
def test_an_int_is_whole(value: Scalar) -> None:
    with pytest.raises(UserError, match="a value of type int"):
        methods.resolve("bss", {"max_steps": value})


def test_make_raises_range_errors_as_they_are() -> None:
    with pytest.raises(RangeError, match="alpha"):
        methods.make("hinton", {"alpha": 2})


def test_an_unknown_method_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean 'label-refinery'"):
        methods.get("label_refinery")


def test_networks_that_tell_unequal_numbers_of_classes_apart_do_not_match() -> None:
    ten, hundred = (Network(f"net{classes}", classes, ((5,),) * 3, ((5,),) * 2, 7) for classes in (10, 100))
    assert methods.check("hinton", ten, hundred) == "net100 tells 100 classes apart, net10 10"
    assert methods.check("hinton", ten, ten) is None
    assert methods.check("hinton", ten, None) == "it needs a teacher and the pair has none"
    assert methods.check("original", ten, None) is None
    assert methods.check("ban", ten, None) is None  # its teacher is planned from the student
