"""How far a study is: a table on a terminal, elsewhere a line per change."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..tables import duration_text
from .state import RunState

COLOURS = {'done': 'green', 'running': 'cyan', 'failed': 'red', 'blocked': 'red', 'queued': 'yellow'}
SECONDS_BETWEEN_LINES = 30
# What a study says on its way, names and paths as they are.
console = Console(highlight=False, markup=False, soft_wrap=True)


def follow(states: Iterable[Mapping[str, RunState]], title: str) -> dict[str, RunState]:
    """Show every run's state until there are no more; returns the last."""
    last: dict[str, RunState] = {}
    left = TimeLeft()
    if console.is_terminal:
        # No thread of its own: the study starts processes.
        with Live(console=console, auto_refresh=False) as live:
            for last in states:
                table = make_table(last, title)
                table.caption = f'{table.caption}{left.text(last)}'
                live.update(table, refresh=True)
        return dict(last)
    printed: dict[str, tuple[str, float]] = {}
    for last in states:
        now, whole = time.monotonic(), left.text(last)
        for name, state in last.items():
            status, at = printed.get(name, ('waiting', now))
            again = state.status == 'running' and now - at >= SECONDS_BETWEEN_LINES
            if state.status != status or again:
                console.print(f'{name}: {describe(state)}')
                if state.status == 'done':
                    done = sum(other.status == 'done' for other in last.values())
                    console.print(f'{done} of {len(last)} runs done{whole}')
                printed[name] = (state.status, now)
    return dict(last)


class TimeLeft:
    """How long a study still takes, by the iterations that its runs have done since the first look."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def text(self, states: Mapping[str, RunState]) -> str:
        """What to append to a line; empty before anything is known, and at the end."""
        going = [state for state in states.values() if state.status not in ('failed', 'blocked')]
        ends = sum(state.max_iters or 0 for state in going)
        done = sum((state.max_iters if state.status == 'done' else state.iteration) or 0 for state in going)
        now = time.monotonic()
        self._first = self._first or (done, now)
        gained, seconds = done - self._first[0], now - self._first[1]
        return (
            f', about {duration_text(seconds / gained * (ends - done))} left'
            if gained > 0 < ends - done
            else ''
        )


def describe(state: RunState) -> str:
    """A state as part of a line."""
    iteration, miou, left = _figures(state)
    parts = (
        state.status,
        iteration and f'iteration {iteration}',
        miou and f'mIoU {miou}',
        left and f'about {left} left',
        state.problem,
    )
    return ', '.join(filter(None, parts))


def _figures(state: RunState) -> tuple[str, str, str]:
    """Iteration, mIoU and time left as text, empty where they are not known."""
    return (
        '' if state.iteration is None else f'{state.iteration}/{state.max_iters}',
        '' if state.miou is None else f'{state.miou:.1f}',
        '' if state.seconds_left is None else duration_text(state.seconds_left),
    )


def make_table(states: Mapping[str, RunState], title: str) -> Table:
    """A row per run: state, iteration, last validation's mIoU (%), time left."""
    counts = Counter(state.status for state in states.values())
    caption = ', '.join(f'{count} {status}' for status, count in counts.items())
    table = Table('run', 'state', title=title, caption=f'{len(states)} runs: {caption}')
    for column in ('iteration', 'mIoU', 'left'):
        table.add_column(column, justify='right')
    for name, state in states.items():
        table.add_row(name, Text(state.status, COLOURS.get(state.status, '')), *_figures(state))
    return table
