"""From MLflow runs to the comparison report."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdbench.report.archive import Archive

__all__ = ["make", "remake"]


def make(
    suites: Sequence[str],
    *,
    uri: str,
    out: Path,
    launch: Path | None = None,
    ui: str | None = None,
    files: bool = True,
) -> Path:
    """Write the report of these suites (= MLflow experiments) into `out`; returns its `index.html`.

    All results come from the tracking URI `uri`. `launch` is the folder of a launch on this machine, whose
    plan.json is read where the store's is out of reach. `ui` is the address of a running MLflow page, to
    which numbers link where `uri` is a database. `files`: every figure also as SVG and PDF. Files of an
    earlier report in the folder `out` are replaced.

    A store or a suite that is not there, or two contents under one data set's name, raise UserError.
    """
    with _without_garbage_collection():
        # Imported here: pandas, SciPy and matplotlib take seconds that `kdbench --help` must not.
        from kdbench.report import archive, plans, read
        from kdbench.report.links import Links

        names = list(dict.fromkeys(suites))
        runs = read.read(names, uri)
        planned = plans.read(runs.launches, names, uri, launch)
        out.mkdir(parents=True, exist_ok=True)
        data = archive.write(archive.Archive(tuple(names), runs, planned, Links.of(uri, ui)), out)
        return _write(archive.read(data), out, files)


def remake(data: Path, *, out: Path | None = None, files: bool = True) -> Path:
    """Write the report whose `runs.parquet` is `data` once more, without a store; returns its `index.html`.

    `out` is `reports/SUITE` where None; `files` as in `make`. Raises UserError for a file that is none.
    """
    with _without_garbage_collection():
        from kdbench.report import archive

        known = archive.read(data)
        folder = out or Path("reports") / "+".join(known.suites)
        folder.mkdir(parents=True, exist_ok=True)
        archive.copy(data, folder)
        return _write(known, folder, files)


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


def _write(known: "Archive", out: Path, files: bool) -> Path:
    from kdbench.report import page, searches, tables, verdict
    from kdbench.report.material import Material

    material = Material(known.runs, known.plans)
    for pattern in ("figures/*.svg", "figures/*.pdf", "configs/*.yaml"):
        for stale in out.glob(pattern):  # of methods that an earlier report had and this one has not
            stale.unlink()
    verdicts = {board.key: verdict.verdict(board) for board in material.boards}
    tables.write_csv(material.boards, out / "leaderboard.csv")
    tables.write_markdown(material.boards, verdicts, out / "leaderboard.md")
    tables.write_latex(material.boards, verdicts, out / "leaderboard.tex")
    configs = searches.write_configs(material.studies, out / "configs", material.plans)
    drawings = page.draw(material, out / "figures" if files else None)
    title = " + ".join(known.suites)
    html = page.render(material, drawings, configs, out, title=title, links=known.links, files=files)
    index = out / "index.html"
    index.write_text(html, encoding="utf-8")
    return index
