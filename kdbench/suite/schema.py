"""The whole suite schema with its defaults. A field's description is what a user is told is allowed there."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from kdbench.data.spec import DatasetSpec
from kdbench.methods.contract import Scalar
from kdbench.search.domain import Override
from kdbench.training.recipe import MOST, Recipe

Fraction = Annotated[float, Field(gt=0, le=1, description="a number in (0, 1]")]
TEACHER_EPOCHS = 60


class _Part(BaseModel):
    # Strict: `"3"`, `true` and `3.0` are no integers. Unknown keys, NaN and infinities are refused.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Data(_Part):
    """How the data set is split and shown."""

    validation: Literal["auto"] | Annotated[float, Field(gt=0, le=0.5)] = Field(
        default="auto", description="auto (0.2 for digits, else 0.1) or a number in (0, 0.5]"
    )
    teacher_data: Literal["full", "fraction"] = Field(default="full", description="full | fraction")
    omit_classes: tuple[Annotated[int, Field(ge=0)] | str, ...] = Field(
        default=(), description="a list of class names or numbers from 0, each once"
    )
    views: Literal["auto", "none", "live"] | Annotated[int, Field(ge=1)] = Field(
        default="auto", description="auto | none | live | a number of fixed views >= 1"
    )


class TeacherChoice(_Part):
    """A teacher to train (`model` alone) or to import (`weights`)."""

    model: str = Field(description="the name of a model")
    weights: str | None = Field(default=None, description="the path of a safetensors file")
    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="letters, digits, '.', '_' and '-'"
    )
    mean: tuple[float, ...] | None = Field(default=None, description="a list of numbers, one per channel")
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None, description="a list of numbers > 0, one per channel"
    )

    @property
    def title(self) -> str:
        """What reports call it."""
        return self.name or self.model


class Pair(_Part):
    """Who teaches whom."""

    teacher: TeacherChoice = Field(description="the name of a model, or {model: …, weights: …}")
    student: str = Field(description="the name of a model")

    @property
    def title(self) -> str:
        """`resnet14->resnet8w4`."""
        return f"{self.teacher.title}->{self.student}"


class MethodEntry(_Part):
    """One row of the leaderboard: a method under a label, some hyperparameters perhaps not searched."""

    method: str = Field(description="the name of a method, or a composition a+b")
    label: str = Field(
        alias="as",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$",
        max_length=80,
        description="letters, digits, '.', '_', '+' and '-', at most 80",
    )
    fixed: Mapping[str, Scalar] = Field(
        default={}, description="a mapping of hyperparameters to numbers or words"
    )


class Search(_Part):
    """The budget that every method gets, and how it is spent."""

    trials: int = Field(default=16, ge=1, le=MOST, description=f"an integer from 1 to {MOST}")
    sampler: Literal["tpe", "random", "gp", "cmaes"] = Field(
        default="tpe", description="tpe | random | gp | cmaes"
    )
    scheduler: Literal["asha", "none"] = Field(default="asha", description="asha | none")
    grace_epochs: int = Field(default=3, ge=1, description="an integer >= 1, below training.epochs")
    reduction_factor: int = Field(default=3, ge=2, description="an integer >= 2")
    fractions: tuple[Fraction, ...] = Field(
        default=(1.0,), min_length=1, description="a list of numbers that are in fractions, each once"
    )


class Final(_Part):
    """How often the winners are trained again."""

    seeds: int = Field(default=5, ge=1, le=MOST, description=f"an integer from 1 to {MOST}")
    defaults: bool = Field(default=True, description="true | false")


class Students(_Part):
    """Which trained students stay on disk."""

    keep: Literal["best", "all", "none"] = Field(default="best", description="best | all | none")


class Resources(_Part):
    """What one training holds: CPU cores and (a share of) GPUs."""

    cpu: float = Field(default=1, gt=0, description="a number of cores > 0")
    gpu: float = Field(default=0, ge=0, description="0, a share of a GPU below 1, or a whole number of GPUs")


def _resources_form(value: Any) -> str:
    return "word" if isinstance(value, str) else "mapping"


class Suite(_Part):
    """A whole comparison, as its author wrote it, paths made absolute."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        max_length=80,
        description="small letters, digits and '-', at most 80",
    )
    dataset: DatasetSpec
    data: Data = Data()
    pairs: tuple[Pair, ...] = Field(min_length=1, description="a list of {teacher: …, student: …}")
    teacher: Recipe = Recipe(epochs=TEACHER_EPOCHS)
    training: Recipe = Recipe()
    methods: tuple[MethodEntry, ...] = Field(min_length=1, description="all, or a list of methods")
    spaces: Mapping[str, Mapping[str, Override]] = {}
    fractions: tuple[Fraction, ...] = Field(
        default=(1.0,), min_length=1, description="a list of numbers in (0, 1], each once"
    )
    search: Search = Search()
    final: Final = Final()
    students: Students = Students()
    resources: Annotated[
        Annotated[Resources, Tag("mapping")] | Annotated[Literal["auto"], Tag("word")],
        Discriminator(_resources_form),
    ] = Field(default=Resources(), description="auto, or {cpu: …, gpu: …}")
    storage: str | None = Field(
        default=None, description="null, a folder, or a URI that pyarrow or fsspec opens"
    )
    tracking: str | None = Field(default=None, description="null, or an MLflow tracking URI")
    seed: int = Field(default=0, ge=0, lt=2**63, description="an integer from 0 to 2^63 - 1")
