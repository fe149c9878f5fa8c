"""What a running launch shows: a live table on a terminal, else a line every ten seconds."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kdbench.cli.words import counted, duration
from kdbench.plan import Run, describe
from kdbench.records import Epoch, Record
from kdbench.search.progress import Counts

_LINE_EVERY_S = 10.0
_MOST_RUNNING = 8  # lines: a cluster runs hundreds


class Board:
    """The Progress of a launch, drawn by `Terminal` or `Lines`."""

    def __init__(self) -> None:
        self.state: Counts | None = None
        self.bests: dict[tuple[str, str], float] = {}  # (pair, label) -> validation accuracy
        self.under_way: dict[str, tuple[Run, Epoch | None]] = {}

    def note(self, message: str) -> None:
        """Something a person should read."""
        raise NotImplementedError

    def changed(self) -> None:
        """Something else is to be shown."""

    def started(self, run: Run) -> None:
        """A run was handed out."""
        self.under_way[run.key] = (run, None)
        self.changed()

    def epoch(self, run: Run, epoch: Epoch) -> None:
        """A run has ended an epoch."""
        self.under_way[run.key] = (run, epoch)
        self.changed()

    def ended(self, run: Run, record: Record) -> None:
        """A run has a result."""
        self.under_way.pop(run.key, None)
        self.changed()

    def counts(self, counts: Counts) -> None:
        """How far the launch is."""
        self.state = counts
        self.changed()

    def best(self, label: str, pair: str, accuracy: float) -> None:
        """A method's best validation accuracy so far."""
        self.bests[pair, label] = accuracy
        self.changed()


class Lines(Board):
    """For logs and pipes."""

    def __init__(self, stream: IO[str], clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._stream, self._clock = stream, clock
        self._last, self._said = float("-inf"), ""

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._print_state()

    def note(self, message: str) -> None:
        """Print it."""
        print(message, file=self._stream, flush=True)

    def changed(self) -> None:
        """Print a line if the last one is old enough."""
        if self.state is not None and self._clock() - self._last >= _LINE_EVERY_S:
            self._print_state()

    def _print_state(self) -> None:
        if self.state is None:
            return
        self._last = self._clock()
        line = headline(self.state)
        if self.bests:
            (pair, label), accuracy = max(self.bests.items(), key=lambda item: item[1])
            line += f" · best so far {label} {100 * accuracy:.2f} % ({pair}, validation)"
        if line != self._said:
            self._said = line
            print(line, file=self._stream, flush=True)


class Terminal(Board):
    """A table that is drawn again four times a second."""

    def __init__(self, console: Console):
        super().__init__()
        self._live = Live(get_renderable=self.draw, console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> "Terminal":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def note(self, message: str) -> None:
        """Print it above the table."""
        self._live.console.print(Text(message))

    def draw(self) -> Group:
        """What is on the screen."""
        if self.state is None:
            return Group(Text("starting …"))
        pairs = list(dict.fromkeys(pair for pair, _ in self.bests))
        table = Table(box=None, pad_edge=False)
        table.add_column("best validation accuracy", style="bold")
        for pair in pairs:
            table.add_column(pair.replace("->", "→"), justify="right")
        for label in dict.fromkeys(label for _, label in self.bests):
            values = (self.bests.get((pair, label)) for pair in pairs)
            table.add_row(label, *("" if value is None else f"{100 * value:.2f} %" for value in values))
        running = [Text(_line(run, epoch), style="dim") for run, epoch in self.under_way.values()]
        more = len(running) - _MOST_RUNNING
        shown = running[:_MOST_RUNNING] + ([Text(f"and {more} more", style="dim")] if more > 0 else [])
        return Group(Text(headline(self.state)), *([table] if self.bests else []), *shown)


def board(console: Console) -> AbstractContextManager[Board]:
    """The board that suits where standard output goes."""
    return Terminal(console) if console.is_terminal else Lines(console.file)


def headline(state: Counts) -> str:
    """How far a launch is, in one line."""
    ends = [(state.pruned, "pruned"), (state.diverged, "diverged"), (state.failed, "failed")]
    of_trials = ", ".join(f"{number} {word}" for number, word in ends if number)
    parts = [
        f"teachers {state.teachers_done}/{state.teachers}" if state.teachers else "",
        f"studies {state.studies_done}/{state.studies}",
        f"trials {state.trials_done}/{state.trials}" + (f" ({of_trials})" if of_trials else ""),
        f"final runs {state.finals_done}/{state.finals}",
        f"{state.running} running",
        duration(state.elapsed),
        "" if state.remaining is None else f"about {duration(state.remaining)} left",
    ]
    return " · ".join(part for part in parts if part)


def outcome(state: Counts) -> str:
    """What a launch made, once it is over."""
    return (
        f"{counted(state.studies_done, 'study')} of {state.studies}, {counted(state.trials_done, 'trial')} "
        f"({state.pruned} pruned, {state.diverged} diverged, {state.failed} failed), "
        f"{counted(state.finals_done, 'final run')} of {state.finals}"
    )


def _line(run: Run, epoch: Epoch | None) -> str:
    if epoch is None:
        return f"  {describe(run)}"
    accuracy = epoch.metrics.get("val/accuracy")
    value = "" if accuracy is None else f" · {100 * accuracy:.2f} %"
    return f"  {describe(run)} · epoch {epoch.epoch}{value}"
