"""From a number to the MLflow runs behind it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit


@dataclass(frozen=True)
class Links:
    """Addresses of runs on an MLflow page; none where no such page is known."""

    base: str | None  # "http://127.0.0.1:5000"

    @classmethod
    def of(cls, uri: str, ui: str | None) -> "Links":
        """`ui` where given, else the tracking server itself; a database has no page of its own."""
        base = ui or (uri if uri.startswith(("http://", "https://")) else None)
        if base is None:
            return cls(None)
        parts = urlsplit(base)
        host = parts.netloc.rpartition("@")[2]  # credentials stay out of the page
        return cls(urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")))

    def run(self, experiment: str, run: str) -> str | None:
        """One run's page."""
        return self.base and f"{self.base}/#/experiments/{quote(experiment)}/runs/{quote(run)}"

    def runs(self, experiment: str, runs: Sequence[str]) -> str | None:
        """One run's page, or the page that compares several."""
        if not self.base or not runs:
            return None
        if len(runs) == 1:
            return self.run(experiment, runs[0])
        ids, experiments = (quote(json.dumps(list(value))) for value in (runs, [experiment]))
        return f"{self.base}/#/compare-runs?runs={ids}&experiments={experiments}"
