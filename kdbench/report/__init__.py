"""From MLflow runs to the comparison report."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["make"]


def make(
    suites: Sequence[str], *, uri: str, out: Path, launch: Path | None = None, ui: str | None = None
) -> Path:
    """Write the report of these suites into `out`; returns its `index.html`.

    A store or a suite that is not there, or two contents under one data set's name, raise UserError.

    Args:
        suites: names of suites, which are the names of MLflow experiments.
        uri: MLflow tracking URI; all results come from there.
        out: folder of the report, made where it is missing. Files of an earlier report in it are replaced.
        launch: folder of a launch on this machine, whose plan.json is read where the store's is out of reach.
        ui: address of a running MLflow page for links, where `uri` is a database (`kdbench ui`).
    """
    # Imported here: pandas, SciPy and matplotlib take seconds that `kdbench --help` must not.
    from kdbench.report import page, plans, read, searches, tables, verdict
    from kdbench.report.links import Links
    from kdbench.report.material import Material

    names = list(dict.fromkeys(suites))
    runs = read.read(names, uri)
    material = Material(runs, plans.read(runs.launches, names, uri, launch))
    out.mkdir(parents=True, exist_ok=True)
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
