"""From MLflow runs to the comparison report."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["make"]


def make(
    suites: Sequence[str], *, uri: str, out: Path, launch: Path | None = None, ui: str | None = None
) -> Path:
    """Write the report of these suites (= MLflow experiments) into `out`; returns its `index.html`.

    All results come from the tracking URI `uri`. `launch` is the folder of a launch on this machine, whose
    plan.json is read where the store's is out of reach. `ui` is the address of a running MLflow page, to
    which numbers link where `uri` is a database. Files of an earlier report in the folder `out` are replaced.

    A store or a suite that is not there, or two contents under one data set's name, raise UserError.
    """
    with _without_garbage_collection():
        return _make(list(dict.fromkeys(suites)), uri, out, launch, ui)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Pause collecting cycles: walking all live objects again and again is a fifth of a report's time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _make(names: list[str], uri: str, out: Path, launch: Path | None, ui: str | None) -> Path:
    # Imported here: pandas, SciPy and matplotlib take seconds that `kdbench --help` must not.
    from kdbench.report import page, plans, read, searches, tables, verdict
    from kdbench.report.links import Links
    from kdbench.report.material import Material

    runs = read.read(names, uri)
    material = Material(runs, plans.read(runs.launches, names, uri, launch))
    out.mkdir(parents=True, exist_ok=True)
    for pattern in ("figures/*.svg", "figures/*.pdf", "configs/*.yaml"):
        for stale in out.glob(pattern):  # of methods that an earlier report had and this one has not
            stale.unlink()
    read.write_parquet(runs, out)
    verdicts = {board.key: verdict.verdict(board) for board in material.boards}
    tables.write_csv(material.boards, out / "leaderboard.csv")
    tables.write_markdown(material.boards, verdicts, out / "leaderboard.md")
    tables.write_latex(material.boards, verdicts, out / "leaderboard.tex")
    configs = searches.write_configs(material.studies, out / "configs")
    drawings = page.draw(material, out / "figures")
    title = " + ".join(names)
    html = page.render(material, drawings, configs, out, title=title, links=Links.of(uri, ui))
    index = out / "index.html"
    index.write_text(html, encoding="utf-8")
    return index
