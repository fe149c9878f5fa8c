"""The suite's `dataset:` key, right and wrong."""

from pathlib import Path

import pytest

from kdbench import data
from kdbench.data.spec import DatasetSpec
from kdbench.errors import UserError

BASE = Path("/suites")


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        ("digits", DatasetSpec("digits")),
        ({"name": "cifar10"}, DatasetSpec("cifar10")),
        (
            {"name": "mnist", "root": "here", "download": True},
            DatasetSpec("mnist", root="/suites/here", download=True),
        ),
        ({"name": "mnist", "root": None}, DatasetSpec("mnist")),
        ({"parquet": "../p", "name": "x-1"}, DatasetSpec("x-1", "parquet", path="/suites/../p")),
        (
            {"folder": "/f", "name": "x", "mean": [0, 0.5, 1], "std": [1, 0.5, 0.1]},
            DatasetSpec("x", "folder", path="/f", mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.1)),
        ),
    ],
)
def test_every_form(value, spec):
    assert data.parse(value, BASE) == spec


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("mnits", r"dataset\.name: given 'mnits'.*did you mean 'mnist'"),
        ("", r"dataset\.name: given ''"),
        ("../mnist", r"dataset\.name"),
        (None, "dataset: given None"),
        (3, "dataset: given 3"),
        (["digits"], "dataset: given"),
        ({}, "dataset: given {}"),
        ({"root": "x"}, "dataset: given"),
        ({"name": ["digits"]}, r"dataset\.name"),
        ({"name": "mnist", "rot": "x"}, r"dataset\.rot: given 'rot'.*did you mean 'root'"),
        ({"name": "mnist", "mean": [0.1]}, r"dataset\.mean: given 'mean'"),
        ({"name": "mnist", "download": "yes"}, r"dataset\.download: given 'yes'; allowed: true \| false"),
        ({"name": "mnist", "root": 3}, r"dataset\.root: given 3"),
        ({"parquet": "p"}, r"dataset\.name: given nothing"),
        ({"parquet": "p", "name": "mnist"}, "not that of a built-in"),
        ({"parquet": "p", "name": "a/b"}, r"dataset\.name: given 'a/b'"),
        ({"parquet": "p", "name": "Has Space"}, r"dataset\.name"),
        ({"parquet": "", "name": "x"}, r"dataset\.parquet: given ''"),
        ({"parquet": "p\0", "name": "x"}, r"dataset\.parquet"),
        ({"folder": ["f"], "name": "x"}, r"dataset\.folder"),
        ({"folder": "f", "parquet": "p", "name": "x"}, "either parquet or folder"),
        ({"folder": "f", "name": "x", "download": True}, r"dataset\.download"),
        (
            {"folder": "f", "name": "x", "mean": [0.5], "std": [0]},
            r"dataset\.std: given \[0\]; allowed.*\(0, 1\]",
        ),
        ({"folder": "f", "name": "x", "mean": [2], "std": [1]}, r"dataset\.mean"),
        ({"folder": "f", "name": "x", "mean": [float("nan")], "std": [1]}, r"dataset\.mean"),
        ({"folder": "f", "name": "x", "mean": [True], "std": [1]}, r"dataset\.mean"),
        ({"folder": "f", "name": "x", "mean": [], "std": [1]}, r"dataset\.mean"),
        ({"folder": "f", "name": "x", "mean": "0.5", "std": [1]}, r"dataset\.mean"),
        ({"folder": "f", "name": "x", "mean": [0.5]}, "mean and std together"),
    ],
)
def test_every_mistake_is_named(value, message):
    with pytest.raises(UserError, match=message) as caught:
        data.parse(value, BASE, "mine.yaml")
    assert all(found.file == "mine.yaml" for found in caught.value.mistakes)


def test_all_mistakes_at_once():
    with pytest.raises(UserError) as caught:
        data.parse({"name": "mnits", "rot": 1, "download": 1}, BASE)
    assert {found.key for found in caught.value.mistakes} == {
        "dataset.name",
        "dataset.rot",
        "dataset.download",
    }


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert data.parse({"folder": "~/f", "name": "x"}, BASE).path == "/home/me/f"
