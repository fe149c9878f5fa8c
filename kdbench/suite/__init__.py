"""YAML -> validated, frozen Suite: what a user wants to have compared, with which budget."""

from kdbench.suite.load import build, load, locate, names
from kdbench.suite.schema import (
    Data,
    Final,
    MethodEntry,
    Pair,
    Resources,
    Search,
    Students,
    Suite,
    TeacherChoice,
)

__all__ = [
    "Data",
    "Final",
    "MethodEntry",
    "Pair",
    "Resources",
    "Search",
    "Students",
    "Suite",
    "TeacherChoice",
    "build",
    "load",
    "locate",
    "names",
]
