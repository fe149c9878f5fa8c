"""A plan is pure: equal suites give equal plans, and a key changes exactly with what determines the work."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kdbench import data, models, plan, suite
from kdbench.data.spec import Facts
from kdbench.errors import UserError
from kdbench.plan import Plan
from kdbench.plan.estimate import estimate
from kdbench.records import Record
from kdbench.search.domain import Domain
from kdbench.seeds import derive
from kdbench.training.job import ImportedTeacher, Job, job_key

TEXT = """
name: tiny
dataset: digits
pairs: [{teacher: resnet14, student: resnet8w4}]
teacher: {epochs: 4}
training: {epochs: 5}
methods: [original, hinton, at, ban]
fractions: [1.0, 0.5, 0.2]
search: {trials: 3, fractions: [1.0, 0.2]}
final: {seeds: 2}
"""
LABELS = np.arange(1438) % 10


@pytest.fixture(scope="module")
def facts() -> Facts:
    return data.facts(data.parse("digits", Path("/")))


@pytest.fixture
def make(tmp_path, facts):
    """A plan of the suite above with some text replaced and some values set."""

    def make(*sets: str, text: str = TEXT, device: str = "cpu") -> Plan:
        path = tmp_path / "suite.yaml"
        path.write_text(text)
        return plan.make_plan(suite.load(str(path), sets), facts, LABELS, device)

    return make


def study(planned: Plan, label: str, fraction: float = 1.0) -> plan.Study:
    (found,) = (item for item in planned.studies if (item.label, item.fraction) == (label, fraction))
    return found


def keys(planned: Plan) -> dict[tuple[str, float], str]:
    return {(item.label, item.fraction): item.key for item in planned.studies}


def test_equal_suites_give_equal_plans(make):
    assert make() == make()
    assert plan.changes(make(), make()) == []


def test_studies_finals_and_defaults_are_all_there_in_order(make):
    planned = make()
    methods = ["original", "hinton", "at", "ban"]
    assert [(item.fraction, item.label) for item in planned.studies] == [
        (fraction, label) for fraction in (1.0, 0.2) for label in methods
    ]
    assert [(item.fraction, item.label, item.index) for item in planned.finals] == [
        (fraction, label, index) for fraction in (1.0, 0.5, 0.2) for label in methods for index in (0, 1)
    ]
    assert [(run.fraction, run.label, run.index, run.config) for run, _ in planned.defaults] == [
        (1.0, label, index, "default") for label in methods for index in (0, 1)
    ]


def test_a_final_uses_the_study_of_the_nearest_searched_fraction(make):
    planned = make("fractions=[1.0, 0.6, 0.5, 0.2]")
    used = {slot.fraction: slot.study for slot in planned.finals if slot.label == "at"}
    large, small = study(planned, "at").key, study(planned, "at", 0.2).key
    assert used == {1.0: large, 0.6: large, 0.5: small, 0.2: small}  # 0.6 is as near to both: the larger


def test_no_defaults_where_none_are_wanted(make):
    assert make("final.defaults=false").defaults == ()


def test_teachers_are_planned_once_each(make):
    planned = make()
    found = [(item.name, item.job.split.fraction, item.job.recipe.epochs) for item in planned.teachers]
    # ban's first generation is the student's own model, by the training recipe, at every fraction.
    assert found == [
        ("resnet14", 1.0, 4),
        ("resnet8w4", 1.0, 5),
        ("resnet8w4", 0.5, 5),
        ("resnet8w4", 0.2, 5),
    ]
    for item in planned.teachers:
        assert item.key == job_key(item.job, "cpu")
        assert (item.job.method, item.job.teacher) == ("original", None)
        assert item.job.seed == derive(0, "teacher", "digits", item.name)


def test_teachers_see_the_fraction_where_the_suite_says_so(make):
    planned = make("data.teacher_data=fraction", "methods=[hinton]")
    assert [item.job.split.fraction for item in planned.teachers] == [1.0, 0.5, 0.2]
    slot = next(slot for slot in planned.finals if slot.fraction == 0.5)
    job = plan.final_job(planned, slot, {})
    assert isinstance(job.teacher, Job)
    assert job.teacher.split.fraction == 0.5
    assert plan.tuned_run(planned, slot, "k", "tuned").teacher_key == planned.teachers[1].key


def test_omitted_classes_are_kept_from_students_only(make):
    planned = make("data.omit_classes=['7', 3]", "methods=[hinton, ban]")
    assert all(item.job.split.omit_classes == () for item in planned.teachers)
    job = plan.trial_job(planned, study(planned, "hinton"), 0, {})
    assert job.split.omit_classes == (3, 7)


def test_an_imported_teacher_is_known_by_its_content(make, tmp_path):
    for name, seed in (("one", 1), ("two", 1), ("three", 3)):
        network = models.build("resnet14", shape=(1, 8, 8), classes=10, seed=seed)
        models.save(network, tmp_path / f"{name}.safetensors")
    keys_of = {}
    for name in ("one", "two", "three"):
        teacher = f"pairs.0.teacher={{model: resnet14, weights: {name}.safetensors, name: mine}}"
        planned = make(teacher, "methods=[hinton]")
        assert planned.teachers == ()
        assert isinstance(planned.studies[0].teacher, ImportedTeacher)
        assert planned.studies[0].pair == "mine->resnet8w4"
        keys_of[name] = planned.studies[0].key
    assert keys_of["one"] == keys_of["two"] != keys_of["three"]


def test_spaces_defaults_and_what_is_fixed(make):
    planned = make(
        "methods=[{method: hinton, as: h, fixed: {temperature: 20, lr: 0.1}}, ban, bss+fsp]",
        "spaces.h={alpha: {float: [0.0, 0.5], default: 0.25}}",
        "spaces._training={weight_decay: {categorical: [0.0005]}}",
    )
    found = study(planned, "h")
    assert dict(found.space) == {
        "alpha": Domain("float", 0.0, 0.5),
        "weight_decay": Domain("categorical", choices=(5e-4,)),
    }
    assert found.default == {"temperature": 20.0, "alpha": 0.25, "lr": 0.1, "weight_decay": 5e-4}
    assert isinstance(found.default["temperature"], float)
    assert "generations" not in study(planned, "ban").space
    composed = study(planned, "bss+fsp")
    assert {"beta", "fsp.beta", "init_share", "lr"} <= set(composed.space)
    assert set(composed.space) <= set(composed.default)


def test_the_default_comes_first_and_the_published_setting_second(make):
    planned = make()
    first, second = study(planned, "at").enqueued
    assert first == {name: study(planned, "at").default[name] for name in study(planned, "at").space}
    assert second == {**first, "alpha": 0.0}
    assert len(study(planned, "hinton").enqueued) == 1
    fixed = make("methods=[{method: at, fixed: {alpha: 0.5}}]")
    assert len(study(fixed, "at").enqueued) == 1
    narrow = make("methods=[at]", "spaces.at.alpha={float: [0.5, 1.0]}")
    assert len(study(narrow, "at").enqueued) == 1


def test_jobs_of_trials_and_finals(make):
    planned = make()
    found = study(planned, "at", 0.2)
    job = plan.trial_job(planned, found, 4, {"lr": 0.25, "beta": 10})
    assert job.recipe.lr == 0.25
    assert job.recipe.augment == "shift"  # what `auto` means for digits
    assert job.hyperparameters == {"temperature": 4.0, "alpha": 0.9, "beta": 10.0}
    assert (job.model, job.split.fraction, job.split.validation) == ("resnet8w4", 0.2, 0.2)
    assert job.seed == derive(0, "trial", "digits", 0.2, 4)
    slot = next(item for item in planned.finals if (item.label, item.fraction, item.index) == ("at", 0.5, 1))
    final = plan.final_job(planned, slot, {**found.default, "beta": 10.0})
    assert final.seed == derive(0, "final", "digits", 1)
    assert (final.split.fraction, final.recipe.lr, final.hyperparameters["beta"]) == (0.5, 0.05, 10.0)
    assert dataclasses.replace(final, seed=job.seed, split=job.split, recipe=job.recipe) == job


def test_trials_of_all_methods_and_finals_share_their_seeds(make):
    planned = make()
    runs = [plan.trial_run(planned, study(planned, label), 1, {}) for label in ("original", "at", "ban")]
    assert len({run.seed for run in runs}) == 1
    assert len({run.key for run in runs}) == 3
    seeds = {(slot.index, slot.seed) for slot in planned.finals} | {
        (run.index, run.seed) for run, _ in planned.defaults
    }
    assert len(seeds) == 2


def test_the_best_configuration_at_its_default_has_the_key_of_the_default_run(make):
    planned = make()
    for label in ("original", "hinton", "ban"):
        slot = next(
            item for item in planned.finals if (item.label, item.fraction, item.index) == (label, 1.0, 1)
        )
        job = plan.final_job(planned, slot, study(planned, label).default)
        (default,) = (run.key for run, _ in planned.defaults if (run.label, run.index) == (label, 1))
        assert job_key(job, "cpu") == default


def test_a_trial_key_is_of_its_study_number_and_values(make):
    planned = make()
    one, other = study(planned, "at"), study(planned, "at", 0.2)
    base = plan.trial_key(one, 0, {"lr": 0.1})
    assert base == plan.trial_key(one, 0, {"lr": 0.1})
    others = [
        plan.trial_key(one, 1, {"lr": 0.1}),
        plan.trial_key(one, 0, {"lr": 0.2}),
        plan.trial_key(other, 0, {"lr": 0.1}),
    ]
    assert len({base, *others}) == 4


# What is changed, and for which methods that is another search.
STUDY_CHANGES = [
    ("search.trials=64", set()),
    ("final.seeds=9", set()),
    ("name=other", set()),
    ("students.keep=all", set()),
    ("resources.cpu=2", set()),
    ("search.sampler=random", {"original", "hinton", "at", "ban"}),
    ("search.scheduler=none", {"original", "hinton", "at", "ban"}),
    ("search.grace_epochs=2", {"original", "hinton", "at", "ban"}),
    ("search.reduction_factor=2", {"original", "hinton", "at", "ban"}),
    ("training.epochs=6", {"original", "hinton", "at", "ban"}),
    ("training.lr=0.1", {"original", "hinton", "at", "ban"}),
    ("training.augment=none", {"original", "hinton", "at", "ban"}),
    ("training.augment=shift", set()),  # what `auto` means for digits
    ("seed=1", {"original", "hinton", "at", "ban"}),
    ("data.validation=0.1", {"original", "hinton", "at", "ban"}),
    ("data.validation=0.2", set()),  # what `auto` means for digits
    ("data.omit_classes=[3]", {"original", "hinton", "at", "ban"}),
    ("pairs.0.student=resnet8", {"original", "hinton", "at", "ban"}),
    # What only the pair's teacher depends on leaves methods alone that do without it.
    ("pairs.0.teacher.model=resnet20", {"hinton", "at"}),
    ("teacher.epochs=6", {"hinton", "at"}),
    ("data.views=2", {"hinton", "at", "ban"}),
    ("spaces.at.beta={float: [1.0, 1000.0]}", {"at"}),
    ("methods.1.fixed.alpha=0.9", {"hinton"}),
]


@pytest.mark.parametrize(("change", "methods"), STUDY_CHANGES, ids=[row[0] for row in STUDY_CHANGES])
def test_a_study_key_changes_with_what_defines_the_search(make, change, methods):
    before, after = keys(make()), keys(make(change))
    assert {
        label for (label, fraction) in before if before[label, fraction] != after[label, fraction]
    } == methods


def test_another_device_or_torch_is_other_work(make, monkeypatch):
    before = make()
    assert not set(keys(before).values()) & set(keys(make(device="cuda")).values())
    monkeypatch.setattr(torch, "__version__", "9.9")
    after = make()
    assert not set(keys(before).values()) & set(keys(after).values())
    assert any("changed torch version" in line for line in plan.changes(before, after))


def test_a_method_without_a_teacher_is_the_same_work_in_every_pair(make):
    planned = make("pairs=[{teacher: resnet14, student: resnet8w4}, {teacher: resnet20, student: resnet8w4}]")
    found = {(item.pair, item.label): item.key for item in planned.studies if item.fraction == 1.0}
    pairs = ("resnet14->resnet8w4", "resnet20->resnet8w4")
    for label in ("original", "ban"):
        assert found[pairs[0], label] == found[pairs[1], label]
    assert found[pairs[0], "hinton"] != found[pairs[1], "hinton"]


def test_default_values_written_out_or_searched_over_again_are_another_search_but_the_same_final(make):
    before = make("methods=[hinton]")
    after = make("methods=[{method: hinton, fixed: {temperature: 4}}]")
    assert [run.key for run, _ in before.defaults] == [run.key for run, _ in after.defaults]


REFUSED = [
    (["methods=[original, {method: original, as: again}]"], "methods", "'again'", "it is 'original' again"),
    (["fractions=[1.0, 0.001]"], "fractions", "0.001", "at least"),
    (["data.omit_classes=[11]"], "data.omit_classes", "11", "their numbers from 0"),
    (["data.omit_classes=[seven]"], "data.omit_classes", "'seven'", "classes of digits: 0, 1"),
    (["data.omit_classes=[0,1,2,3,4,5,6,7,8,9]"], "data.omit_classes", "[0, 1", "not all"),
    (["pairs.0.student=mlp-8x2", "methods=[at]"], "methods.0", "'at' for resnet14->mlp-8x2", "feature maps"),
    (["pairs.0.student=mlp-8x2", "methods=[original, at]"], "methods.1", "'at'", "feature maps"),
]


@pytest.mark.parametrize(("sets", "key", "given", "allowed"), REFUSED, ids=[row[0][-1] for row in REFUSED])
def test_what_only_the_data_and_the_networks_show(make, sets, key, given, allowed):
    with pytest.raises(UserError) as caught:
        make("search.fractions=[1.0]", *sets)
    (found,) = caught.value.mistakes
    assert found.key == key
    assert given in found.given
    assert allowed in found.allowed


def test_an_imported_teacher_fits_the_images_and_its_model(make, tmp_path):
    models.save(models.build("resnet14", shape=(3, 8, 8), classes=10, seed=0), tmp_path / "w.safetensors")
    teacher = "{model: resnet14, weights: w.safetensors, mean: [0.1, 0.2, 0.3], std: [1.0, 1.0, 1.0]}"
    with pytest.raises(UserError) as caught:
        make(f"pairs.0.teacher={teacher}")
    statistics, weights = caught.value.mistakes
    assert (statistics.key, weights.key) == ("pairs.0.teacher.mean", "pairs.0.teacher.weights")
    assert statistics.allowed.startswith("1 numbers, one per channel")
    assert "w.safetensors" in weights.given
    assert "resnet14 for 10 classes" in weights.allowed


def test_a_plan_comes_back_from_its_file_as_it_was(make, tmp_path):
    planned = make(
        "methods=[{method: hinton, as: h, fixed: {temperature: 20}}, bss+fsp]",
        "spaces._training.lr={float: [0.01, 0.1]}",
        "training.schedule={step: {at: [0.5], gamma: 0.1}}",
        "resources=auto",
    )
    path = plan.write(planned, tmp_path / "launch")
    assert path.name == plan.PLAN_FILE
    back = plan.read(tmp_path / "launch")
    assert back == planned
    assert [job_key(job, "cpu") for _, job in back.defaults] == [run.key for run, _ in planned.defaults]
    assert [item.key for item in back.studies] == [item.key for item in planned.studies]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"suite": 3}'])
def test_a_file_that_is_no_plan_is_refused(tmp_path, text):
    (tmp_path / plan.PLAN_FILE).write_text(text)
    with pytest.raises(ValueError, match="no plan of this version"):
        plan.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        plan.read(tmp_path / "nowhere")


def test_what_a_changed_suite_keeps_and_why_not_the_rest(make):
    before = make()
    lines = plan.changes(before, make("spaces.at.beta={float: [1.0, 1000.0]}", "search.trials=9"))
    assert lines == [
        "studies: 6 of 8 reused",
        "studies to do, changed search space: "
        "at · resnet14->resnet8w4 · 100 %, at · resnet14->resnet8w4 · 20 %",
        "studies that go on from 3 to 9 trials: 6",
    ]
    lines = plan.changes(before, make("teacher.epochs=6"))
    assert "teachers to do, changed recipe: resnet14 · 100 %" in lines
    assert any(line.startswith("studies to do, changed teacher: ") for line in lines)
    lines = plan.changes(before, make("methods=[hinton, rkd]", "search.fractions=[1.0]"))
    assert any(line.startswith("studies to do, new in this suite: rkd") for line in lines)
    assert any(line.startswith("studies no longer planned: original") for line in lines)


def test_the_protocol_is_what_makes_results_comparable(make):
    pair = "resnet14->resnet8w4"
    digits, words = plan.protocol(make(), pair)
    assert len(digits) == 8
    assert int(digits, 16) >= 0
    assert words == "epochs 5 · teacher epochs 4"
    same = [
        "search.trials=9",
        "fractions=[1.0, 0.2]",
        "methods=[hinton]",
        "final.seeds=9",
        "training.augment=shift",
    ]
    for change in same:
        assert plan.protocol(make("search.fractions=[1.0]", change), pair)[0] == digits, change
    other = ["seed=1", "training.epochs=6", "teacher.epochs=6", "data.views=2", "data.teacher_data=fraction"]
    other += ["data.omit_classes=[3]", "data.validation=0.1", "training.updates=scaled"]
    found = {change: plan.protocol(make(change), pair) for change in other}
    assert len({item[0] for item in found.values()} | {digits}) == len(other) + 1
    assert found["data.omit_classes=[3]"][1] == "omit classes 3 · epochs 5 · teacher epochs 4"
    assert found["seed=1"][1] == "epochs 5 · teacher epochs 4 · seed 1"
    plain = make("training.epochs=30", "teacher.epochs=60")
    assert plan.protocol(plain, pair)[1] == "default"


def test_names_for_people(make):
    planned = make()
    trial = plan.trial_run(planned, study(planned, "at", 0.2), 7, {})
    assert plan.describe(trial) == "at · resnet14→resnet8w4 · 20 % · #07"
    slot = next(item for item in planned.finals if (item.label, item.index) == ("at", 1))
    assert (
        plan.describe(plan.tuned_run(planned, slot, "k", "tuned"))
        == "at · resnet14→resnet8w4 · 100 % · seed 1"
    )
    assert plan.describe(planned.defaults[1][0]) == "original · resnet14→resnet8w4 · 100 % · default seed 1"
    assert plan.describe(plan.teacher_run(planned.teachers[2])) == "teacher resnet8w4 · 50 %"
    assert plan.percent(0.125) == "12.5 %"
    assert plan.slug("torchvision:resnet18/x y") == "torchvision-resnet18-x-y"


def test_the_estimate_counts_distinct_work(make):
    planned = make("pairs=[{teacher: resnet14, student: resnet8w4}, {teacher: resnet20, student: resnet8w4}]")
    cost = estimate(planned, torch.from_numpy(LABELS), [], None)
    # original and ban are the same work in both pairs: 6 searches of 8, at two fractions.
    assert (cost.studies, cost.trials) == (12, 36)
    assert (cost.tuned_finals, cost.default_finals) == (6 * 3 * 2, 6 * 2)
    assert cost.teachers == 2 + 3
    assert cost.epochs == 5 * (36 + 36 + 12) + 4 + 4 + 3 * 5
    assert cost.seconds is None
    assert cost.measured.startswith("unknown")
    assert cost.disk > 0


def test_earlier_runs_tell_the_time(make, facts):
    planned = make("methods=[original]", "fractions=[1.0]", "search.fractions=[1.0]", "final.defaults=false")
    job = plan.trial_job(planned, planned.studies[0], 0, {})
    earlier = Record(
        key="k",
        kind="trial",
        state="complete",
        method="original",
        hyperparameters={},
        seed=0,
        job=json.loads(json.dumps(dataclasses.asdict(job))),
        time={"time/train_s": 10.0, "time/updates": 100.0},
        device="cpu, 1 thread",
    )
    cost = estimate(planned, torch.from_numpy(LABELS), [earlier], None)
    updates = 9  # of 1,150 training images, 128 at a time
    assert cost.seconds == pytest.approx((3 + 2) * 5 * updates * 0.1)
    assert "earlier runs" in cost.measured
    measured = estimate(planned, torch.from_numpy(LABELS), [], "cpu")
    assert measured.seconds is not None
    assert 0 < measured.seconds < 1000
