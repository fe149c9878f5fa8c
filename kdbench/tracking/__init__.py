"""MLflow as a view of the run records."""

from kdbench.tracking.told import settled
from kdbench.tracking.tracker import Tracker
from kdbench.tracking.uri import check, masked, resolve

__all__ = ["Tracker", "check", "masked", "resolve", "settled"]
