"""The page of a report: what it shows, as plain data, and how it becomes one file."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import cycle
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..evaluation.adaptation import class_names
from ..evaluation.metrics.scores import LABELLED
from ..evaluation.score_curves import MIN_BEST
from ..evaluation.seeds import Estimate
from ..tables import table_cells
from ..version import __version__
from .analysis import NO_SOURCE, Analysis, Group, MeasuredRun, Value, leading
from .analysis_text import DIP, SOURCE_DROP, cell, class_table, count, lines, score_table
from .comparisons import agree, best_of, length_of, recovery_of, same_source, task_of
from .confusions import confusions, taken_tables
from .costs import common_times, cost_table, model_cost, same_hardware, trade_offs
from .curves import COLOURS, MEANS, class_values, curves
from .film import film_strip
from .provenance import config_differences, provenance_table, transfer_tables
from .refined import refined
from .sentences import sentences


def render_page(analysis: Analysis, **options: Any) -> str:
    """The report of analysed runs; ``options`` are those of ``page_content``.

    The same records and pictures give the same bytes. Its content security policy allows no request and no
    script but the two that it holds, so a name from a record cannot run.
    """
    environment = Environment(
        loader=PackageLoader('mmseg_deeplab_study.report'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = page_content(analysis, **options)
    templates = files('mmseg_deeplab_study.report') / 'templates'
    scripts = {'plotly': get_plotlyjs(), 'script': (templates / 'report.js').read_text('utf-8')}
    return environment.get_template('report.html.jinja').render(
        **content,
        names=[run.name for run in analysis.runs],
        intervals=any(group.several for group in analysis.groups),
        version=__version__,
        css=Markup((templates / 'report.css').read_text('utf-8')),
        json=htmlsafe_json_dumps(content['data'], ensure_ascii=False, allow_nan=False, separators=(',', ':')),
        script_hashes=[
            Markup(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'")
            for script in scripts.values()
        ],
        **{name: Markup(script) for name, script in scripts.items()},
    )


def page_content(
    analysis: Analysis, frames: int = 60, width: int = 480, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """What the template shows, ``notes`` before everything; ``data`` is for the script.

    ``frames`` are about the pictures of a run and image in the film strip, ``width`` is theirs in pixels.
    """
    runs = analysis.runs
    places = {run.name: place for place, run in enumerate(runs)}
    lead = leading(analysis.groups)
    strip = film_strip(runs, frames, width, lead[0])
    matrices, thinned = confusions(runs, lead[0])
    offs = trade_offs(analysis.groups)
    means = [*(lead if lead == LABELLED else ()), *MEANS]
    return {
        'tasks': _tasks(runs),
        'min_best': MIN_BEST,
        'score': lead[0],
        'sentences': sentences(analysis),
        'summary': _summary(analysis.groups),
        'groups': [
            {
                'name': group.name,
                'scores': table_cells(score_table(group)),
                'classes': table_cells(class_table(group, analysis)),
                'lines': lines(group, analysis),
            }
            for group in analysis.groups
        ],
        'costs': cost_table(analysis),
        'trade_offs': offs,
        'class_tables': [class_values(run, means) for run in runs],
        'taken': taken_tables(runs),
        'transfers': transfer_tables(runs),
        'refined': refined(runs, width),
        'provenance': provenance_table(runs),
        'differences': config_differences(analysis),
        'notes': [*notes, *strip.pop('notes'), *thinned],
        'data': {
            'leading': lead,
            'means': means,
            'groups': [
                {'name': group.label, 'runs': [places[run.name] for run in group.runs], 'colour': colour}
                for group, colour in zip(analysis.groups, cycle(COLOURS))  # noqa: B905
            ],
            'runs': [curves(run, means) for run in runs],
            'costs': {
                'last': [_with_interval(group.figures[lead[0]]['last']) for group in analysis.groups],
                'axes': [off._asdict() for off in offs],
            },
            'film': strip,
            'confusions': matrices,
        },
    }


def _with_interval(value: Value) -> tuple[float | None, float | None, float | None]:
    """A mean and the ends of its interval; None for the ends of a single run."""
    return value[:3] if isinstance(value, Estimate) else (value, None, None)


def _tasks(runs: Sequence[MeasuredRun]) -> list[dict[str, Any]]:
    """What adapted to what, an entry for all runs that agree in it."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        header = run.history.header
        task = {
            'source_classes': len(header.get('source_classes') or ()),
            'target_classes': len(class_names(run.history)),
            'seen': list(header.get('seen_classes') or ()),
            'no_source': NO_SOURCE if run.no_source else '',
            'checkpoint': (header.get('source_checkpoint') or {}).get('name'),
            'images': sorted({row['images'] for row in run.history.validations if 'images' in row}),
        }
        found.setdefault(repr(task), {**task, 'names': []})['names'].append(run.name)
    return list(found.values())


# A title, and of each row what is shown and whether it is the best.
Column = tuple[str, Sequence[tuple[str, bool]]]


def _column(title: str, values: Sequence[Value], shown: Sequence[str], largest: bool | None) -> Column:
    """``largest``: whether that is the best, None where neither end is."""
    best = [False] * len(values) if largest is None else best_of(values, largest)
    return title, list(zip(shown, best, strict=True))


def _summary(groups: Sequence[Group]) -> dict[str, Any]:
    """The experiments side by side."""
    columns = [*_cost_columns(groups), *_score_columns(groups)]
    cells = zip(*(cells for _, cells in columns), strict=True)
    return {
        'columns': [title for title, _ in columns],
        'rows': [
            {'name': group.label, 'seeds': group.seeds, 'state': group.unfinished, 'cells': row}
            for group, row in zip(groups, cells, strict=True)
        ],
    }


def _cost_columns(groups: Sequence[Group]) -> Iterator[Column]:
    costs = [model_cost(group) for group in groups]
    parameters, operations, times = zip(*costs, strict=True)
    # Only like is compared with like: images of one set, and time on one machine.
    small = False if agree(groups, task_of) else None
    soon = small if same_hardware(groups) else None

    def shown(values: Sequence[float | None], unit: float, shape: str) -> list[str]:
        return ['-' if value is None else shape.format(value / unit) for value in values]

    yield _column('parameters', parameters, shown(parameters, 1e6, '{:.2f} M'), False)
    yield _column('multiply-adds an image', operations, shown(operations, 1e9, '{:.2f} G'), small)
    yield _column('validation, ms an image', common_times(costs), shown(times, 1, '{:.0f}'), soon)


def _score_columns(groups: Sequence[Group]) -> Iterator[Column]:
    def column(title: str, subject: str, measure: str, largest: bool | None) -> Column:
        rows = [group.figures.get(subject, {}) for group in groups]
        values, shown = [row.get(measure) for row in rows], [cell(row, measure) for row in rows]
        return _column(title, values, shown, largest)

    miou, seen, unseen = leading(groups)
    # Only like is compared with like.
    start = True if agree(groups, task_of) else None
    high, low = (start, False) if start and agree(groups, length_of) else (None, None)
    yield column("source's view", miou, 'source', start)
    yield column('at iteration 0', miou, 'start', start)
    yield column(SOURCE_DROP, miou, 'source_drop', low)
    yield column(DIP, miou, 'dip', low)
    # Who never fell has none.
    back = [recovery_of(group, miou).value for group in groups]
    yield _column('recovered at', back, [count(value) for value in back], None)
    yield column('best (iteration)', miou, 'best', high)
    yield column('last', miou, 'last', high)
    yield column('seen classes, last', seen, 'last', high)
    yield column('unseen classes, last', unseen, 'last', high)
    if any('BIoU' in group.figures for group in groups):
        yield column('Boundary IoU, last', 'BIoU', 'last', high)
    yield column('area', miou, 'area', high)
    yield column('lead of seen classes', 'seen_lead', 'iterations', None)
    if any(group.figures['forgetting'] for group in groups):
        alike = same_source(groups)
        yield column("on the source's data, at 0", 'forgetting', 'start', start if alike else None)
        yield column('of that forgotten', 'forgetting', 'drop', low if alike else None)
