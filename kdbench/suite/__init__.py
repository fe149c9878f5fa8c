"""YAML -> validated, frozen Suite: what a user wants to have compared, with which budget."""

from kdbench.suite.load import build, inspect, load, locate, names
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
    "inspect",
    "load",
    "locate",
    "names",
]
