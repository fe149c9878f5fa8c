"""MLflow as a view of the run records."""

from kdbench.tracking.exports import export
from kdbench.tracking.page import ui
from kdbench.tracking.resend import sync
from kdbench.tracking.told import settled
from kdbench.tracking.tracker import Tracker
from kdbench.tracking.uri import check, masked, resolve

__all__ = ["Tracker", "check", "export", "masked", "resolve", "settled", "sync", "ui"]
