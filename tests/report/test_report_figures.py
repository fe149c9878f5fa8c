import dataclasses

import matplotlib as mpl
import pandas as pd
import pytest
import report_store as rs

from kdbench.report import labels, plans, style
from kdbench.report.figures import SECTIONS, across, beyond, protocols
from kdbench.report.material import Material, highlighted

TWO = rs.Setting(methods=("original", "hinton"), pairs=("t->mlp-30x2", "t->mlp-300x2"), trials=8, extras=True)


def material(made) -> Material:
    return Material(rs.frames(made), plans.Plans())


def drawn(make, made) -> dict[str, style.Figure]:
    with style.look():
        return {figure.name: figure for figure in make(material(made))}


def test_nothing_is_drawn_without_data() -> None:
    assert not any(list(make(material([]))) for makers in SECTIONS.values() for make in makers)


def test_no_panel_is_empty_where_metrics_are_missing() -> None:
    made = rs.runs(dataclasses.replace(TWO, extras=False))
    for make in (beyond.sizes, beyond.behaviour, beyond.exits, protocols.omitted, across.critical_difference):
        assert drawn(make, made) == {}


def test_temperature_has_one_line_per_student() -> None:
    found = drawn(protocols.temperature, rs.runs(TWO))
    assert set(found) == {"temperature-synthetic-t-hinton", "temperature-synthetic-t-original"}
    names = [text.get_text() for text in found["temperature-synthetic-t-hinton"].canvas.axes[0].texts]
    assert sorted(names) == ["mlp-300x2", "mlp-30x2"]


def test_fixed_temperatures_have_a_panel_per_student() -> None:
    labels_ = ("hinton-t1", "hinton-t4", "hinton-t20")
    made = [
        dataclasses.replace(
            run, params=run.params | {"temperature": float(run.tags["method"].split("-t")[1])}
        )
        if run.kind in ("trial", "final")
        else run
        for run in rs.runs(dataclasses.replace(TWO, methods=labels_))
    ]
    entries = [{"method": "hinton", "as": label} for label in labels_]
    planned = plans.Plans(suites={"synthetic": {"methods": entries}})
    with style.look():
        (figure,) = protocols.fixed_temperatures(Material(rs.frames(made), planned))
        assert list(protocols.fixed_temperatures(Material(rs.frames(made), plans.Plans()))) == []
    narrow, wide = figure.canvas.axes
    assert (narrow.get_title(loc="left"), wide.get_title(loc="left")) == ("mlp-30x2", "mlp-300x2")
    assert narrow.lines[0].get_xdata().tolist() == [1, 4, 20]
    tuned = [r for r in made if r.tags.get("config") == "tuned" and r.tags["pair"].endswith("-30x2")]
    first = [r.metrics["test/accuracy"] for r in tuned if r.tags["method"] == "hinton-t1"]
    assert narrow.lines[0].get_ydata()[0] == pytest.approx(sum(first) / len(first))


def test_no_axis_of_shares_goes_beyond_all() -> None:
    made = rs.runs(
        rs.Setting(gains={"bss": 0.049, "hinton": 0.04}, trials=12, fractions=(1.0, 0.2), extras=True)
    )
    seen = 0
    for makers in SECTIONS.values():
        for make in makers:
            for figure in drawn(make, made).values():
                figure.canvas.draw_without_rendering()
                for axes in figure.canvas.axes:
                    for axis in (axes.xaxis, axes.yaxis):
                        ticks = [label.get_text() for label in axis.get_ticklabels()]
                        shares = [float(t[:-2].replace("−", "-")) for t in ticks if t.endswith(" %")]
                        seen += bool(shares)
                        low, high = sorted(axis.get_view_interval())
                        assert all(share <= 100 for share in shares if low <= share / 100 <= high), (
                            figure.name
                        )
    assert seen > 10


def test_omitted_classes_show_three_settings() -> None:
    bias = {"eval/accuracy_bias_validation": 0.96, "audit/accuracy_bias_test": 0.97}
    found = drawn(protocols.omitted, [rs.replace(r, bias) if r.kind == "final" else r for r in rs.runs(TWO)])
    assert len(found) == 2
    legend = next(iter(found.values())).canvas.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(protocols.BIASES.values())


def test_sizes_compare_students() -> None:
    made = [
        rs.replace(run, {"eval/parameters": float(len(run.tags["pair"]))}) if run.kind == "final" else run
        for run in rs.runs(TWO)
    ]
    found = drawn(beyond.sizes, made)
    assert set(found) == {"size-digits-parameters", "size-digits-latency"}
    assert all("protocols differ" in figure.caption for figure in found.values())


def test_what_lost_final_runs_is_no_bargain() -> None:
    points = pd.DataFrame(
        {"method": ["a", "b"], "x": [1.0, 2.0], "accuracy": [0.9, 0.8], "whole": [False, True]}
    )
    with style.look():
        assert beyond._front(style.canvas()[1], points) == ["b"]


def test_exits_show_the_ensemble() -> None:
    (figure,) = drawn(beyond.exits, rs.runs(rs.Setting(methods=("byot",), trials=1, extras=True))).values()
    line, star = figure.canvas.axes[0].lines
    assert len(line.get_xdata()) == 3 and star.get_ydata()[0] > line.get_ydata()[-1]


def test_marks_differ_and_stay() -> None:
    names = [f"m{index:02}" for index in range(40)]
    made = style.marks([*names, "original"], "original")
    looks = {(mark.colour, mark.marker) for mark in made.values()}
    assert len(looks) == 41
    assert made == style.marks([*reversed(names), "original"], "original")
    assert made["original"].colour == style.INK


def test_colours_can_be_seen_and_names_in_them_read() -> None:
    assert style.contrast("#000000", "#ffffff") == pytest.approx(21)
    for light, dark in style.COLOURS:
        assert style.contrast(light, style.PAPER) >= 3 and style.contrast(dark, "#14171b") >= 4.5
        assert style.contrast(style.TEXTS[light], style.PAPER) >= 4.5


def test_lines_in_colour_are_few_and_hold_the_baselines() -> None:
    names = [*(f"m{index:02}" for index in range(38)), "hinton", "original"]
    shown = highlighted(names)
    assert (
        len(shown) == style.HIGHLIGHTED
        and shown[:2] == ["m00", "m01"]
        and shown[-2:] == ["hinton", "original"]
    )
    assert highlighted(names[:10]) == names[:10]


def test_labels_are_spread() -> None:
    assert labels.spread([1.0, 5.0], 1.0) == [1.0, 5.0]
    assert labels.spread([1.0, 1.0, 1.0], 1.0) == [0.0, 1.0, 2.0]
    places = labels.spread([0.0, 0.1, 0.2, 5.0, 5.1], 1.0)
    assert all(b - a >= 1 - 1e-9 for a, b in zip(places, places[1:], strict=False))
    assert places[:3] == pytest.approx([-0.9, 0.1, 1.1])


def test_an_inlined_drawing_follows_the_page(tmp_path) -> None:
    before = dict(mpl.rcParams)
    with style.look():
        figure, axes = style.canvas()
        axes.plot([0, 1], [0, 1], color=style.COLOURS[0][0])
        axes.set_xlabel("a < b & $x$")
        svg = style.save(style.Figure("name", "", "", "", figure), tmp_path)
    assert dict(mpl.rcParams) == before
    assert svg.startswith("<svg ") and "var(--c0)" in svg and style.COLOURS[0][0] not in svg
    assert "a &lt; b &amp; $x$" in svg and "<style" not in svg and "<metadata" not in svg
    assert style.COLOURS[0][0] in (tmp_path / "name.svg").read_text()
