import pytest
import torch
from torch import nn

from kdbench import methods
from kdbench.errors import RangeError, UserError
from kdbench.methods.compose import Composition
from kdbench.methods.contract import Batch, Network, Stage
from kdbench.methods.testing import batch_of, outputs_of
from kdbench.models.outputs import Exit


def batch(stage: str = "distil", connectors: nn.Module | None = None) -> Batch:
    generator = torch.Generator().manual_seed(0)

    def outputs() -> tuple[torch.Tensor, ...]:
        return tuple(torch.randn(3, 4, 2, 2, generator=generator) for _ in range(3))

    def logits() -> torch.Tensor:
        return torch.randn(3, 5, generator=generator)

    student = outputs_of(
        logits(),
        features=outputs(),
        preacts=outputs()[1:],
        embedding=torch.randn(3, 6, generator=generator),
        exits=(Exit(logits(), logits()), Exit(logits(), logits())),
    )
    teacher = outputs_of(logits(), features=outputs(), preacts=outputs()[1:], embedding=logits())
    return batch_of(student, teacher, stage=stage, connectors=connectors)


def test_the_first_gives_the_task_and_the_others_their_extra_terms() -> None:
    """at+rkd is at's loss and rkd's two relations, with at's temperature and alpha alone."""
    values = {"temperature": 2.0, "alpha": 0.5, "beta": 7.0, "lambda_angle": 3.0}
    terms = methods.make("at+rkd", values).losses(batch())
    at = methods.make("at", {"temperature": 2.0, "alpha": 0.5, "beta": 7.0}).losses(batch())
    rkd = methods.make("rkd", {"lambda_angle": 3.0}).losses(batch())
    assert terms == at | {"distance": rkd["distance"], "angle": rkd["angle"]}
    assert list(terms) == ["hard", "soft", "attention", "distance", "angle"]


def test_hyperparameters_are_those_that_count_and_a_clashing_name_is_prefixed() -> None:
    assert list(methods.hyperparameters("bss+fsp")) == [
        "alpha",
        "beta",
        "temperature",
        "base_samples",
        "step_size",
        "epsilon",
        "max_steps",
        "fsp.beta",
        "init_share",
        "init_lr",
    ]
    assert methods.hyperparameters("bss+fsp")["beta"].default == 2.0
    assert methods.hyperparameters("bss+fsp")["fsp.beta"].default == 1.0
    assert methods.members("hinton+fsp+ab")[2] == (
        "ab",
        {
            "margin": "margin",
            "beta": "ab.beta",
            "init_share": "ab.init_share",
            "init_lr": "ab.init_lr",
        },
    )


def test_prefixed_values_reach_their_method() -> None:
    method = methods.make("at+fsp", {"beta": 5, "fsp.beta": 0.25, "init_share": 0.3})
    assert isinstance(method, Composition)
    at, fsp = (member.method for member in method.members)
    assert at == methods.make("at", {"beta": 5.0})
    assert fsp == methods.make("fsp", {"beta": 0.25, "init_share": 0.3})


def test_first_stages_run_in_order_each_on_what_is_left() -> None:
    """ab takes 0.2 of all epochs, fsp 0.5 of the 0.8 left."""
    stages = methods.make(
        "hinton+ab+fsp", {"init_share": 0.2, "fsp.init_share": 0.5, "init_lr": 0.03}
    ).stages()
    assert [stage.name for stage in stages] == ["ab.boundaries", "fsp.flow", "distil"]
    assert [stage.share for stage in stages] == pytest.approx([0.2, 0.4, 0.4])
    assert [stage.lr for stage in stages] == [0.03, 0.01, None]
    assert methods.make("bss+fsp").stages() == (Stage("fsp.flow", 0.2, 0.01), Stage("distil", 0.8))


def test_in_a_first_stage_its_method_is_alone() -> None:
    connectors = nn.ModuleDict({"fsp": nn.ModuleList([nn.Identity()] * 3)})
    terms = methods.make("at+fsp").losses(batch("fsp.flow", connectors))
    alone = methods.make("fsp").losses(batch("flow", connectors["fsp"]))
    assert terms == alone
    assert terms.keys() == {"flow"}
    assert methods.make("at+fsp").losses(batch("distil", connectors)) == methods.make("at").losses(batch())


def test_each_member_gets_its_own_connectors() -> None:
    network = Network("net", 5, ((4, 2, 2),) * 3, ((4, 2, 2),) * 2, 6)
    wider = Network("wide", 5, ((8, 2, 2),) * 3, ((8, 2, 2),) * 2, 6)
    built = methods.make("fitnet-1s+fsp+ab").build(network, wider)
    assert isinstance(built, nn.ModuleDict)
    assert list(built) == ["fitnet-1s", "fsp", "ab"]
    assert len(list(built["fsp"].children())) == 3
    assert methods.make("hinton+at").build(network, wider) is None


def test_clashing_terms_and_watched_values_are_prefixed_and_gradients_add_up() -> None:
    """Both have a `boundary` term; at progress 1 nothing is searched, so the terms are zeros."""
    assert list(methods.make("bss+adv-fgsm").losses(batch())) == [
        "hard",
        "soft",
        "boundary",
        "adv-fgsm.boundary",
    ]
    given = batch("distil", nn.ModuleDict({"ab": nn.ModuleList([nn.Identity()] * 2)}))
    methods.make("hinton+ab").losses(given)
    assert given.watched.keys() == {"agreement_1", "agreement_2"}


def test_self_distillation_beside_a_teacher() -> None:
    """The exits' labels and soft targets are extra terms; hinton's are the task."""
    terms = methods.make("hinton+byot", {"alpha": 0.5, "byot.alpha": 0.2}).losses(batch())
    assert list(terms) == ["hard", "soft", "exit_label", "exit_soft", "exit_feature"]
    method = methods.get("hinton+byot")
    assert method.teacher == "pair"
    assert method.needs == {"exits"}


def test_what_members_declare_is_united() -> None:
    method = methods.get("at+fitnet")
    assert method.label == "at+fitnet"
    assert method.source == "arXiv:1612.03928 + arXiv:1412.6550"
    assert method.needs == {"maps"}
    assert method.published == {"alpha": 0.0}
    assert methods.get("original+at").teacher == "pair"
    assert methods.get("original+byot").teacher == "none"
    assert methods.get("specialists+at").fixed == ("clusters", "classes_per_specialist", "specialist_epochs")


def test_any_members_reason_refuses_a_pair() -> None:
    three = Network("three", 5, ((4, 2, 2),) * 4, ((4, 2, 2),) * 3, 6)
    two = Network("two", 5, ((4, 2, 2),) * 3, ((4, 2, 2),) * 2, 6)
    assert methods.check("rkd+fsp", three, three) is None
    assert (methods.check("rkd+fsp", three, two) or "").startswith("fsp: it compares")


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("at+at", "each method once"),
        ("at+hinton", "hinton is nothing but a task loss"),
        ("at+specialists", "specialists in the first place only: it is a chain of trainings"),
        ("original+ban", "ban in the first place only"),
        ("ban+at", "the same teacher"),
        ("at+rdk", "did you mean 'rkd'"),
        ("at+", "given ''"),
        ("+", "given ''"),
    ],
)
def test_impossible_compositions(label: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        methods.make(label)


def test_a_range_error_names_the_public_hyperparameter() -> None:
    with pytest.raises(RangeError, match=r"^fsp\.beta: given -1\.0; allowed: > 0$"):
        methods.make("at+fsp", {"fsp.beta": -1})
