"""A suite is read whole or refused whole: every mistake with file, key, given, allowed and nearest name."""

import dataclasses
import string
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdbench import methods, suite
from kdbench.errors import Mistake, UserError
from kdbench.search.domain import Domain
from kdbench.training.recipe import Recipe

SMALLEST = """
name: my-study
dataset: digits
pairs: [{teacher: resnet14, student: resnet8w4}]
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "mine.yaml") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def mistakes(path: str, *sets: str) -> dict[str, Mistake]:
    """What is wrong with the suite, by key."""
    with pytest.raises(UserError) as caught:
        suite.load(path, sets)
    found = {item.key: item for item in caught.value.mistakes}
    assert len(found) == len(caught.value.mistakes), "one key, one mistake"
    return found


def test_the_defaults_are_those_of_the_documents(write):
    found = suite.load(write(SMALLEST))
    assert found.model_dump(exclude={"name", "dataset", "pairs", "methods", "teacher", "training"}) == {
        "data": {"validation": "auto", "teacher_data": "full", "omit_classes": (), "views": "auto"},
        "spaces": {},
        "fractions": (1.0,),
        "search": {
            "trials": 16,
            "sampler": "tpe",
            "scheduler": "asha",
            "grace_epochs": 3,
            "reduction_factor": 3,
            "fractions": (1.0,),
        },
        "final": {"seeds": 5, "defaults": True},
        "students": {"keep": "best"},
        "resources": {"cpu": 1, "gpu": 0},
        "storage": None,
        "tracking": None,
        "seed": 0,
    }
    recipe = Recipe(
        optimizer="sgd",
        momentum=0.9,
        nesterov=True,
        lr=0.05,
        weight_decay=5e-4,
        schedule="cosine",
        epochs=30,
        batch_size=128,
        augment="auto",
        dropout=0.0,
        max_norm=None,
        updates="equal",
    )
    assert found.training == recipe
    assert found.teacher == dataclasses.replace(recipe, epochs=60)
    assert [entry.method for entry in found.methods] == list(methods.names())
    assert found.pairs[0].title == "resnet14->resnet8w4"


def test_a_suite_cannot_be_changed(write):
    found = suite.load(write(SMALLEST))
    with pytest.raises(ValueError, match="frozen"):
        found.seed = 1


def test_what_is_given_stands_and_the_rest_keeps_its_default(write):
    text = (
        SMALLEST
        + "teacher: {lr: 0.1}\ntraining: {epochs: 12}\nsearch: {trials: 4}\ndata: {omit_classes: [3]}\n"
    )
    found = suite.load(write(text))
    assert (found.teacher.lr, found.teacher.epochs) == (0.1, 60)
    assert (found.training.epochs, found.training.lr) == (12, 0.05)
    assert (found.search.trials, found.search.sampler) == (4, "tpe")
    assert (found.data.omit_classes, found.data.validation) == ((3,), "auto")


def test_a_section_without_keys_is_one_of_defaults(write):
    found = suite.load(write(SMALLEST + "search:\ntraining:\nspaces:\n"))
    assert found.search.trials == 16
    assert found.training == Recipe()


def test_numbers_may_be_written_as_people_write_them(write):
    found = suite.load(write(SMALLEST + "training: {lr: 1e-2, weight_decay: 5E-4}\nfractions: [1, 0.5]\n"))
    assert (found.training.lr, found.training.weight_decay) == (0.01, 5e-4)
    assert found.fractions == (1.0, 0.5)


def test_methods_are_labels_and_what_they_fix(write):
    text = (
        SMALLEST
        + "methods: [original, bss+fsp, {method: hinton, as: hinton-t20, fixed: {temperature: 20}}]\n"
    )
    entries = suite.load(write(text)).methods
    assert [(entry.method, entry.label, dict(entry.fixed)) for entry in entries] == [
        ("original", "original", {}),
        ("bss+fsp", "bss+fsp", {}),
        ("hinton", "hinton-t20", {"temperature": 20}),
    ]


def test_all_beside_others_means_all_the_others(write):
    entries = suite.load(
        write(SMALLEST + "methods: [{method: hinton, fixed: {alpha: 0.5}}, all, bss+fsp]\n")
    ).methods
    names = [entry.method for entry in entries]
    assert names == ["hinton", *(name for name in methods.names() if name != "hinton"), "bss+fsp"]


def test_the_search_is_done_at_the_largest_fraction_where_nothing_else_is_said(write):
    assert suite.load(write(SMALLEST + "fractions: [0.2, 0.5]\n")).search.fractions == (0.5,)


def test_paths_are_relative_to_the_suite_file(write, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (tmp_path / "w.safetensors").write_bytes(b"")
    text = """
name: own
dataset: {parquet: data, name: own}
pairs: [{teacher: {model: resnet8, weights: w.safetensors}, student: resnet8}]
storage: shared
"""
    found = suite.load(write(text))
    assert found.dataset.path == str(tmp_path / "data")
    assert found.pairs[0].teacher.weights == str(tmp_path / "w.safetensors")
    assert found.storage == str(tmp_path / "shared")
    assert suite.load(write(text), ["storage=s3://bucket/x"]).storage == "s3://bucket/x"


def test_variables_in_paths(write, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_HERE", str(tmp_path / "there"))
    text = SMALLEST.replace("dataset: digits", "dataset: {folder: $DATA_HERE/x, name: own}")
    assert suite.load(write(text)).dataset.path == str(tmp_path / "there" / "x")


def test_spaces_replace_a_range_and_perhaps_its_default(write):
    text = SMALLEST + (
        "spaces:\n"
        "  bss: {max_steps: {int: [1, 5], default: 5}}\n"
        "  _training: {lr: {float: [0.01, 0.1], scale: log}, weight_decay: {categorical: [0.0005]}}\n"
    )
    spaces = suite.load(write(text)).spaces
    assert spaces["bss"]["max_steps"].domain == Domain("int", 1, 5)
    assert spaces["bss"]["max_steps"].default == 5
    assert spaces["_training"]["lr"].domain == Domain("float", 0.01, 0.1, "log")
    assert spaces["_training"]["weight_decay"].domain == Domain("categorical", choices=(5e-4,))


@pytest.mark.parametrize("name", suite.names())
def test_built_in_suites_hold(name, monkeypatch, tmp_path):
    # The published weights are no part of the repository; the suite needs only that the file is there.
    monkeypatch.setenv("KDBENCH_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "resnet26_cifar10.safetensors").write_bytes(b"")
    assert suite.load(name).name == name


def test_a_file_is_found_by_path_and_a_built_in_one_by_name(write):
    assert suite.locate("quickstart").name == "quickstart.yaml"
    path = write(SMALLEST)
    assert suite.locate(path) == Path(path)
    with pytest.raises(UserError, match="did you mean 'quickstart'"):
        suite.locate("quikstart")


# What stands under a key, and what is answered: (text, key, given, part of what is allowed, nearest).
REFUSED = [
    ("serch: {trials: 3}", "serch", "'serch'", "search", "search"),
    ("search: {trails: 3}", "search.trails", "'trails'", "trials", "trials"),
    ("data: {validaton: 0.1}", "data.validaton", "'validaton'", "validation", "validation"),
    ("final: {seed: 3}", "final.seed", "'seed'", "seeds", "seeds"),
    ("students: {keep: bst}", "students.keep", "'bst'", "best | all | none", "best"),
    ("training: {leraning_rate: 0.1}", "training.leraning_rate", "'leraning_rate'", "lr", ""),
    ("training: {optimizer: sgdd}", "training.optimizer", "'sgdd'", "sgd | adamw", "sgd"),
    ("training: {lr: fast}", "training.lr", "'fast'", "a number", ""),
    ("training: {lr: '0.1'}", "training.lr", "'0.1'", "a number", ""),
    ("training: {lr: .nan}", "training.lr", "nan", "finite", ""),
    ("training: {lr: -0.1}", "training.lr", "-0.1", "> 0", ""),
    ("training: {epochs: 0}", "training.epochs", "0", "from 1 to 1000000", ""),
    ("training: {epochs: 2.5}", "training.epochs", "2.5", "integer", ""),
    ("training: {epochs: true}", "training.epochs", "True", "integer", ""),
    ("training: {momentum: 1.0}", "training.momentum", "1.0", "[0, 1)", ""),
    ("training: {momentum: 0}", "training.nesterov", "True", "false where momentum is 0", ""),
    ("training: {max_norm: .inf}", "training.max_norm", "inf", "finite", ""),
    ("training: {schedule: cosin}", "training.schedule", "'cosin'", "cosine | constant", ""),
    (
        "training: {schedule: {step: {at: [0.5]}}}",
        "training.schedule.step",
        "{'at': [0.5]}",
        "at and gamma",
        "",
    ),
    (
        "training: {schedule: {step: {at: [a, 1], gamma: 0.1}}}",
        "training.schedule.step.at",
        "['a', 1]",
        "rising shares",
        "",
    ),
    (
        "training: {schedule: {step: {at: [0.5], gamma: null}}}",
        "training.schedule.step.gamma",
        "None",
        "in (0, 1)",
        "",
    ),
    ("training: [1]", "training", "[1]", "mapping", ""),
    ("teacher: {epochs: -1}", "teacher.epochs", "-1", "from 1 to 1000000", ""),
    ("search: {trials: 0}", "search.trials", "0", "from 1 to 1000000", ""),
    ("search: {trials: '3'}", "search.trials", "'3'", "integer", ""),
    ("search: {trials: true}", "search.trials", "True", "integer", ""),
    ("search: {sampler: tpee}", "search.sampler", "'tpee'", "tpe | random | gp | cmaes", "tpe"),
    ("search: {scheduler: hyperband}", "search.scheduler", "'hyperband'", "asha | none", ""),
    ("search: {grace_epochs: 30}", "search.grace_epochs", "30", "below training.epochs, which is 30", ""),
    ("search: {reduction_factor: 1}", "search.reduction_factor", "1", ">= 2", ""),
    ("search: {fractions: [0.3]}", "search.fractions", "0.3", "those of fractions: 1.0", ""),
    ("fractions: []", "fractions", "[]", "(0, 1]", ""),
    ("fractions: 0.5", "fractions", "0.5", "a list", ""),
    ("fractions: [0]", "fractions.0", "0", "(0, 1]", ""),
    ("fractions: [1.0, 1.5]", "fractions.1", "1.5", "(0, 1]", ""),
    ("fractions: [1.0, .nan]", "fractions.1", "nan", "(0, 1]", ""),
    ("fractions: [1.0, 1]", "fractions", "1.0 2 times", "each fraction once", ""),
    ("training: {epochs: 1000001}", "training.epochs", "1000001", "from 1 to 1000000", ""),
    ("search: {trials: 1000001}", "search.trials", "1000001", "from 1 to 1000000", ""),
    ("fractions: [1.0, 7]", "fractions.1", "7", "a number in (0, 1]", ""),
    ("final: {seeds: 0}", "final.seeds", "0", "from 1 to 1000000", ""),
    ("final: {defaults: 1}", "final.defaults", "1", "true | false", ""),
    ("seed: -1", "seed", "-1", "from 0 to 2^63 - 1", ""),
    ("seed: 1.5", "seed", "1.5", "integer", ""),
    ("resources: many", "resources", "'many'", "auto", ""),
    ("resources: {gpu: 1.5}", "resources.gpu", "1.5", "whole number of GPUs", ""),
    ("resources: {cpu: 0}", "resources.cpu", "0", "> 0", ""),
    ("resources: {gpus: 1}", "resources.gpus", "'gpus'", "cpu, gpu", "gpu"),
    ("data: {validation: 0.6}", "data.validation", "0.6", "(0, 0.5]", ""),
    ("data: {validation: .nan}", "data.validation", "nan", "(0, 0.5]", ""),
    ("data: {validation: some}", "data.validation", "'some'", "auto", ""),
    ("data: {views: 0}", "data.views", "0", ">= 1", ""),
    ("data: {views: liv}", "data.views", "'liv'", "auto | none | live", "live"),
    ("data: {teacher_data: ful}", "data.teacher_data", "'ful'", "full | fraction", "full"),
    ("data: {omit_classes: [3, 3]}", "data.omit_classes", "[3, 3]", "each class once", ""),
    ("data: 3", "data", "3", "mapping", ""),
    ("methods: [hintn]", "methods.0.method", "'hintn'", "a method: ab, ", "hinton"),
    ("methods: []", "methods", "[]", "all, or a list", ""),
    ("methods: hinton", "methods", "'hinton'", "all, or a list", ""),
    ("methods: [3]", "methods.0", "3", "", ""),
    ("methods: [hinton, hinton]", "methods.1.as", "'hinton'", "each label once", ""),
    ("methods: [{method: hinton, as: a/b}]", "methods.0.as", "'a/b'", "letters, digits", ""),
    ("methods: [{method: hinton, alias: x}]", "methods.0.alias", "'alias'", "method, as, fixed", "as"),
    (
        "methods: [{method: hinton, fixed: {temprature: 2}}]",
        "methods.0.fixed.temprature",
        "'temprature'",
        "temperature, alpha",
        "temperature",
    ),
    (
        "methods: [{method: hinton, fixed: {temperature: -2}}]",
        "methods.0.fixed.temperature",
        "-2",
        "> 0",
        "",
    ),
    (
        "methods: [{method: hinton, fixed: {temperature: hot}}]",
        "methods.0.fixed.temperature",
        "'hot'",
        "such as 4.0",
        "",
    ),
    ("methods: [{method: hinton, fixed: {alpha: true}}]", "methods.0.fixed.alpha", "True", "such as 0.9", ""),
    (
        "spaces: {hintn: {alpha: {float: [0, 1]}}}",
        "spaces.hintn",
        "'hintn'",
        "a label of this suite",
        "hinton",
    ),
    (
        "spaces: {hinton: {alpa: {float: [0, 1]}}}",
        "spaces.hinton.alpa",
        "'alpa'",
        "temperature, alpha",
        "alpha",
    ),
    ("spaces: {hinton: {alpha: [0, 1]}}", "spaces.hinton.alpha", "[0, 1]", "{float: [low, high]", ""),
    (
        "spaces: {hinton: {alpha: {int: [0, 1]}}}",
        "spaces.hinton.alpha.int",
        "[0, 1]",
        "{float: [low, high]}",
        "",
    ),
    ("spaces: {hinton: {alpha: {float: [1, 0]}}}", "spaces.hinton.alpha.float", "[1, 0]", "low < high", ""),
    (
        "spaces: {hinton: {temperature: {float: [0, 9], scale: log}}}",
        "spaces.hinton.temperature.float",
        "[0, 9]",
        "low > 0",
        "",
    ),
    ("spaces: {hinton: {alpha: {float: [0.5, 2]}}}", "spaces.hinton.alpha.alpha", "2.0", "in [0, 1]", ""),
    (
        "spaces: {hinton: {alpha: {float: [0, 0.5]}}}",
        "spaces.hinton.alpha.default",
        "0.9",
        "inside the range, required here",
        "",
    ),
    (
        "spaces: {hinton: {alpha: {float: [0, 0.5], default: 0.7}}}",
        "spaces.hinton.alpha.default",
        "0.7",
        "inside the range",
        "",
    ),
    ("spaces: {bss: {max_steps: {float: [1, 5]}}}", "spaces.bss.max_steps.float", "[1, 5]", "{int: [low", ""),
    ("spaces: [1]", "spaces", "[1]", "mapping", ""),
    ("training: {lr: 0.9}", "training.lr", "0.9", "[0.001, 0.5]", ""),
    ("training: {weight_decay: 0}", "training.weight_decay", "0.0", "spaces: {_training:", ""),
    ("storage: 3", "storage", "3", "null", ""),
    ("tracking: [a]", "tracking", "['a']", "null", ""),
]


@pytest.mark.parametrize(
    ("text", "key", "given", "allowed", "nearest"), REFUSED, ids=[row[0] for row in REFUSED]
)
def test_what_is_refused_and_how(write, text, key, given, allowed, nearest):
    path = write(SMALLEST + text + "\n")
    (found,) = mistakes(path).values()
    assert (found.key, found.given, found.nearest, found.file) == (key, given, nearest, path)
    assert allowed in found.allowed


REPLACED = [
    ("name: my-study", "name: My Study", "name", "small letters"),
    ("name: my-study", "name: ../x", "name", "small letters"),
    ("name: my-study", "name: a/b", "name", "small letters"),
    ("name: my-study", "name: 3", "name", "small letters"),
    ("name: my-study", "seed: 0", "name", "small letters"),
    ("digits", "digit", "dataset.name", "digits mnist"),
    ("digits", "{name: digits, rot: /x}", "dataset.rot", "name root download"),
    ("digits", "{parquet: x}", "dataset.name", "a name of your own: {parquet: …, name: …}"),
    ("digits", "{parquet: x, name: digits}", "dataset.name", "not that of a built-in"),
    ("digits", "[]", "dataset", "a name, "),
    ("resnet14", "resnet15", "pairs.0.teacher.model", "resnet<6n+2>"),
    ("resnet8w4", "resnt8w4", "pairs.0.student", "resnet<6n+2>"),
    ("student: resnet8w4", "studnt: resnet8w4", "pairs.0.studnt", "teacher, student"),
    ("resnet14", "{model: resnet14, weights: nowhere}", "pairs.0.teacher.weights", "an existing"),
    ("resnet14", "{model: resnet14, mean: [0.1]}", "pairs.0.teacher", "together"),
    ("resnet14", "{model: resnet14, mean: [0.1], std: [0.2]}", "pairs.0.teacher.mean", "only with weights"),
    ("resnet14", "{model: resnet14, name: a b}", "pairs.0.teacher.name", "letters"),
    ("pairs: [{teacher: resnet14, student: resnet8w4}]", "pairs: []", "pairs", "a list of"),
    ("pairs: [{teacher: resnet14, student: resnet8w4}]", "seed: 1", "pairs", "a list of"),
    ("[{teacher: resnet14, student: resnet8w4}]", "[3]", "pairs.0", "a list of {teacher"),
    (
        "[{teacher: resnet14, student: resnet8w4}]",
        "[{teacher: resnet14, student: resnet8w4}, {teacher: resnet14, student: resnet8w4}]",
        "pairs",
        "each pair once",
    ),
    ("student: resnet8w4", "student: []", "pairs.0.student", "a model"),
]


@pytest.mark.parametrize(
    ("old", "new", "key", "allowed"), REPLACED, ids=[f"{row[1]} {row[2]}" for row in REPLACED]
)
def test_what_must_be_right_in_every_suite(write, old, new, key, allowed):
    found = mistakes(write(SMALLEST.replace(old, new, 1)))
    assert allowed in found[key].allowed


FILES = [
    (b"", "an empty file"),
    (b"# only a comment\n", "an empty file"),
    (b"- a\n- list\n", "a list"),
    (b"just words\n", "single value"),
    (b"name: \xff\xfe\n", "not UTF-8"),
    (b"name: [a\n", "line 2"),
    (b"name: a\nname: b\n", "'name' is there twice (line 2"),
    (b"search: {trials: 3, trials: 4}\n", "'trials' is there twice"),
    (b"name: !!python/object/apply:os.system ['touch owned']\n", "the tag"),
    (b"name: !!python/name:os.system\n", "the tag"),
    (b"name: !custom x\n", "the tag"),
    (b"name: !!timestamp x\n", "does not fit its tag"),
    (b"a: &a [*a]\n", "unfold without end"),
    (b"? [a]\n: b\n", "no plain name"),
    (b"a: " + b"[" * 200 + b"]" * 200, "nested"),
    (b"a: '\\ud800'\n".replace(b"'", b'"'), "surrogates"),
    (
        b"a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 10)) for c in b"bcdefghi"),
        "unfold",
    ),
]


@pytest.mark.parametrize(("content", "given"), FILES, ids=[str(row[0][:40]) for row in FILES])
def test_files_that_are_no_suite(write, tmp_path, content, given):
    path = write(content)
    (found,) = mistakes(path).values()
    assert given in found.given
    assert found.file == path
    assert not list(Path.cwd().glob("owned"))


def test_a_file_that_is_not_there_or_a_folder(tmp_path):
    (found,) = mistakes(str(tmp_path / "nowhere.yaml")).values()
    assert found.given == "No such file or directory"
    (tmp_path / "folder.yaml").mkdir()
    (found,) = mistakes(str(tmp_path / "folder.yaml")).values()
    assert found.given == "a folder"


def test_all_mistakes_are_found_at_once(write):
    text = """
name: Bad Name
dataset: digit
pairs: [{teacher: resnet15, student: resnet8}, {teacher: resnet14}]
trainin: {lr: 1}
training: {lr: .nan, epochs: 3, optimizer: adm}
methods: [hintn, {method: bss, fixed: {alpa: 1, temperature: -1}}]
spaces: {bss: {beta: {float: [3, 1]}}}
fractions: [0.5, 2]
search: {trials: 0, sampler: tp}
seed: x
"""
    assert set(mistakes(write(text))) == {
        "name",
        "dataset.name",
        "pairs.0.teacher.model",
        "pairs.1.student",
        "trainin",
        "training.lr",
        "training.optimizer",
        "methods.0.method",
        "methods.1.fixed.alpa",
        "methods.1.fixed.temperature",
        "spaces.bss.beta.float",
        "fractions.1",
        "search.trials",
        "search.sampler",
        "search.grace_epochs",
        "seed",
    }


def test_set_lays_values_over_the_suite(write):
    path = write(SMALLEST + "methods: [original, hinton]\n")
    found = suite.load(
        path,
        [
            "search.trials=64",
            "pairs.0.student=resnet8",
            "pairs.0.teacher.name=big",
            "methods.1.fixed.temperature=20",
            "fractions=[1.0, 0.1]",
            "training.schedule={step: {at: [0.5], gamma: 0.1}}",
            "training.lr=1e-2",
            "dataset.root=/data",
            "resources=auto",
        ],
    )
    assert found.search.trials == 64
    assert found.pairs[0].title == "big->resnet8"
    assert found.methods[1].fixed == {"temperature": 20}
    assert found.fractions == (1.0, 0.1)
    assert found.training.schedule == {"step": {"at": [0.5], "gamma": 0.1}}
    assert found.training.lr == 0.01
    assert found.dataset.root == "/data"
    assert found.resources == "auto"


def test_the_last_set_wins(write):
    assert suite.load(write(SMALLEST), ["seed=1", "seed=2"]).seed == 2


SETS = [
    ("search.trials", "--set", "key.key=value"),
    ("=3", "--set", "key.key=value"),
    ("search..trials=3", "--set", "key.key=value"),
    ("search.trails=3", "search.trails", "trials"),
    ("serch.trials=3", "serch", "search"),
    ("search.trials=[", "search.trials", "plain YAML"),
    ("search.trials=!!python/name:os.system", "search.trials", "plain YAML"),
    ("pairs.1.student=resnet8", "pairs.1", "from 0 to 0"),
    ("pairs.x=resnet8", "pairs.x", "from 0 to 0"),
    ("pairs.0.student.width=3", "pairs.0.student.width", "no key below"),
    ("name.x=1", "name.x", "no key below"),
    ("search=3", "search", "mapping"),
]


@pytest.mark.parametrize(("text", "key", "allowed"), SETS, ids=[row[0] for row in SETS])
def test_a_set_that_is_wrong_is_named(write, text, key, allowed):
    (found,) = mistakes(write(SMALLEST), text).values()
    assert found.key == key
    assert allowed in found.allowed
    assert found.file in ("", "--set", f"--set {text}")


def test_mistakes_of_the_file_and_of_sets_are_told_apart(write):
    path = write(SMALLEST + "seed: -1\n")
    found = mistakes(path, "search.trials=0", "final.seeds=x")
    assert {key: item.file for key, item in found.items()} == {
        "seed": path,
        "search.trials": "--set search.trials=0",
        "final.seeds": "--set final.seeds=x",
    }


KEYS = sorted(
    {"name", "dataset", "pairs", "teacher", "student", "model", "methods", "method", "as", "fixed", "spaces"}
    | {
        "data",
        "training",
        "search",
        "trials",
        "sampler",
        "fractions",
        "final",
        "resources",
        "gpu",
        "schedule",
    }
    | {"step", "at", "float", "default", "hinton", "alpha", "lr", "_training", "weights", "omit_classes", "x"}
)
WORDS = ["digits", "all", "auto", "hinton", "bss", "resnet8", "tpe", "none", "", "a/b", "cosine", "\x00", "é"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(alphabet=string.printable, max_size=8)
    | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_yaml_is_a_suite_or_a_user_error(write, values):
    assert_suite_or_user_error(write(yaml.safe_dump(SUITE_BASE | values, allow_unicode=True)))


def assert_suite_or_user_error(path):
    try:
        assert suite.load(path).name
    except UserError as error:
        assert all(item.given and item.allowed for item in error.mistakes)


WHOLE = """
name: my-study
dataset: {name: digits}
data: {validation: auto, teacher_data: full, omit_classes: [3], views: auto}
pairs: [{teacher: resnet26, student: resnet8},
        {teacher: {model: resnet26, weights: %s, name: mine, mean: [0.5], std: [0.5]}, student: resnet8}]
teacher: {epochs: 60}
training: {optimizer: sgd, momentum: 0.9, nesterov: true, lr: 0.05, weight_decay: 5.0e-4, max_norm: null,
           schedule: {step: {at: [0.5, 0.75], gamma: 0.1}}, epochs: 30, batch_size: 128, augment: auto,
           dropout: 0.0, updates: equal}
methods: [original, bss+fsp, {method: hinton, as: hinton-t20, fixed: {temperature: 20}}]
spaces:
  bss+fsp: {max_steps: {int: [1, 10], default: 5}}
  _training: {lr: {float: [0.01, 0.1], scale: log}}
  hinton-t20: {alpha: {categorical: [0.1, 0.9]}}
fractions: [1.0, 0.2]
search: {trials: 16, sampler: tpe, scheduler: asha, grace_epochs: 3, reduction_factor: 3, fractions: [1.0]}
final: {seeds: 5, defaults: true}
students: {keep: best}
resources: {cpu: 1, gpu: 0}
storage: null
tracking: null
seed: 0
"""


def places(node, path=()):
    """Every place in a document, from the outside in."""
    yield path
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, inner in below:
        yield from places(inner, (*path, name))


def test_the_whole_suite_is_right(write):
    assert suite.load(write(WHOLE % write(""))).name == "my-study"


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_suite_that_is_wrong_anywhere_is_a_user_error(write, data):
    document = yaml.safe_load(WHOLE % write(""))
    for _ in range(data.draw(st.integers(1, 2), label="places")):
        *outer, last = data.draw(st.sampled_from(list(places(document))[1:]), label="place")
        node = document
        for name in outer:
            node = node[name]
        node[last] = data.draw(VALUES, label="value")
    assert_suite_or_user_error(write(yaml.safe_dump(document, allow_unicode=True)))


SUITE_BASE = yaml.safe_load(SMALLEST)


@given(st.text(max_size=60) | st.text(alphabet="{}[]:,&*!|>-?#'\" \nab1.", max_size=60))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_suite_or_a_user_error(write, text):
    with pytest.raises(UserError):
        suite.load(write(text.encode("utf-8", "surrogatepass")))


@given(
    st.text(max_size=30) | st.tuples(st.sampled_from(KEYS), VALUES).map(lambda item: f"{item[0]}={item[1]}")
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_set_is_laid_over_or_a_user_error(write, text):
    try:
        suite.load(write(SMALLEST), [text])
    except UserError as error:
        assert error.mistakes
