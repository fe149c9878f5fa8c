"""Compositions `a+b`: the first-named method's whole loss, and what the others add to a task loss."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from kdbench.methods.contract import Batch, Context, Method, Network, Prepared, Stage

TASK_TERMS = ("hard", "soft")  # what a method brings of its own task loss: taken of the first-named only
SUMMED = "teacher_gradients"  # the one watched value that is a count of work, so members' counts add up


@dataclass(frozen=True)
class Member:
    """One method of a composition."""

    label: str
    method: Method
    names: Mapping[str, str]  # its hyperparameters that count here: own name -> public name

    @property
    def first_stages(self) -> tuple[Stage, ...]:
        """All its stages but the last, which the composition shares."""
        return self.method.stages()[:-1]


@dataclass(frozen=True)
class Composition(Method):
    """Several methods as one.

    The first-named gives its task terms and all it has; of the others the extra terms, first stages and
    connectors count. First stages run in the order of the names, each taking its share of the epochs that
    earlier ones left.
    """

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        """Unite what the members declare."""
        methods = [member.method for member in self.members]
        first = methods[0]
        public = self.members[0].names
        united = {
            "label": "+".join(member.label for member in self.members),
            "source": " + ".join(dict.fromkeys(method.source for method in methods)),
            "teacher": next((method.teacher for method in methods if method.teacher != "none"), "none"),
            "needs": frozenset[str]().union(*(method.needs for method in methods)),
            "fixed": tuple(
                name
                for member in self.members
                for own, name in member.names.items()
                if own in member.method.fixed
            ),
            "published": {public[name]: value for name, value in first.published.items()},
        }
        for (
            name,
            value,
        ) in united.items():  # class attributes of every other method; this instance is frozen
            object.__setattr__(self, name, value)

    def refuses(self, student: Network, teacher: Network | None) -> str | None:
        """The first reason of any member."""
        reasons = ((member.label, member.method.refuses(student, teacher)) for member in self.members)
        return next((f"{label}: {reason}" for label, reason in reasons if reason), None)

    def stages(self) -> tuple[Stage, ...]:
        """The members' first stages, named `<member>.<stage>`, then the first-named's last stage."""
        stages, left = [], 1.0
        for member in self.members:
            for stage in member.first_stages:
                stages.append(Stage(f"{member.label}.{stage.name}", stage.share * left, stage.lr))
            left *= 1 - sum(stage.share for stage in member.first_stages)
        last = self.members[0].method.stages()[-1]
        return *stages, Stage(last.name, left, last.lr)

    def build(self, student: Network, teacher: Network | None) -> nn.Module | None:
        """The members' connectors by label; None where nobody has any."""
        built = {member.label: member.method.build(student, teacher) for member in self.members}
        connectors = {label: module for label, module in built.items() if module is not None}
        return nn.ModuleDict(connectors) if connectors else None

    def prepare(self, context: Context) -> Prepared:
        """The first-named's chain, if it is one."""
        return self.members[0].method.prepare(context)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """One member's terms in its first stages; in the last the first-named's and others' extra terms."""
        for member in self.members:
            for stage in member.first_stages:
                if batch.stage == f"{member.label}.{stage.name}":
                    return self._member_losses(member, batch, stage)
        terms: dict[str, Tensor] = {}
        for position, member in enumerate(self.members):
            for name, value in self._member_losses(member, batch, member.method.stages()[-1]).items():
                if position == 0 or name not in TASK_TERMS:
                    terms[f"{member.label}.{name}" if name in terms else name] = value
        return terms

    def _member_losses(self, member: Member, batch: Batch, stage: Stage) -> dict[str, Tensor]:
        connectors = batch.connectors
        if isinstance(connectors, nn.ModuleDict):
            connectors = connectors[member.label] if member.label in connectors else None
        view = replace(batch, stage=stage.name, connectors=connectors, watched={})
        terms = member.method.losses(view)
        for name, value in view.watched.items():
            if name == SUMMED:
                batch.watched[name] = batch.watched.get(name, value.new_zeros(())) + value
            else:
                batch.watched[f"{member.label}.{name}" if name in batch.watched else name] = value
        return terms
