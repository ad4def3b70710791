"""Text for a terminal, a log and a page: tables, by rich, and durations."""

import io
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

# Titles of columns, and rows of as many cells.
Cells = tuple[Sequence[str], Sequence[Sequence[str]]]


def make_table(columns: Iterable[str], left: int = 1) -> Table:
    """A table without rows; its first ``left`` columns are flush left."""
    table = Table(box=box.ASCII2)
    for place, column in enumerate(columns):
        table.add_column(column, justify='left' if place < left else 'right', no_wrap=True)
    return table


def table_cells(table: Table) -> Cells:
    """What a table holds, for another way of showing it."""
    rows = zip(*(column.cells for column in table.columns), strict=True)
    return [column.header for column in table.columns], list(rows)


def table_text(table: Table) -> str:
    """The lines of a table at its full width; names in it are not read as markup."""
    file = io.StringIO()
    Console(file=file, width=10**6, markup=False, emoji=False, highlight=False).print(table)
    return file.getvalue().rstrip('\n')


def duration_text(seconds: float) -> str:
    """Hours, minutes and whole seconds, as far as there are any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{rest:02d} h' if hours else f'{minutes}:{rest:02d} min'
