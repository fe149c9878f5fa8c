"""`plan.json`: the latest plan of a suite, whole: status and reports need neither suite file nor data."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kdbench.plan.values import Plan
from kdbench.records import write_atomically

PLAN_FILE = "plan.json"
_ADAPTER = TypeAdapter(Plan)


def write(plan: Plan, folder: Path) -> Path:
    """Write `plan.json` into a launch folder, atomically."""
    text = _ADAPTER.dump_json(plan, indent=1, by_alias=True).decode()
    return write_atomically(folder / PLAN_FILE, text)


def read(folder: Path) -> Plan:
    """The plan in a launch folder. Raises FileNotFoundError, or ValueError for a plan of another kdbench."""
    try:
        return _ADAPTER.validate_json((folder / PLAN_FILE).read_bytes())
    except ValidationError as error:
        raise ValueError(f"{folder / PLAN_FILE} is no plan of this version of kdbench: {error}") from error
