"""The page of a report: what it shows, as plain data, and how it becomes one file."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import cycle
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..evaluation.adaptation import absent_classes, class_names
from ..evaluation.metrics.scores import LABELLED
from ..evaluation.score_curves import MIN_BEST
from ..evaluation.seeds import Estimate
from ..tables import table_cells
from ..version import __version__
from .analysis import NO_SOURCE, Analysis, Group, MeasuredRun, Value, leading
from .analysis_text import class_table, lines, score_table
from .comparisons import ONE_SEED, compare
from .confusions import confusions, taken_tables
from .costs import cost_table, trade_offs
from .curves import COLOURS, MEANS, class_values, curves
from .film import film_strip
from .provenance import config_differences, provenance_table, transfer_tables
from .refined import refined
from .sentences import result, sentences, what_means_cover
from .side_by_side import cost_columns, more_columns, score_columns, side_by_side


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
    runs, groups = analysis.runs, analysis.groups
    places = {run.name: place for place, run in enumerate(runs)}
    lead = leading(groups)
    strip = film_strip(runs, frames, width, lead[0])
    matrices, thinned = confusions(runs, lead[0])
    offs = trade_offs(groups)
    means = [*(lead if lead == LABELLED else ()), *MEANS]
    absent = {run.name: absent_classes(run.history) for run in runs}
    compared = compare(groups)
    return {
        'tasks': _tasks(runs),
        'means_cover': what_means_cover(lead[0]),
        'min_best': MIN_BEST,
        'score': lead[0],
        'results': [(group.label, group.seeds, result(group, lead[0])) for group in groups],
        # Beside the results, and not again after the comparisons.
        'one_seed': ONE_SEED if ONE_SEED in compared else '',
        'compared': [sentence for sentence in compared if sentence != ONE_SEED],
        'sentences': sentences(analysis),
        'summary': side_by_side(groups, score_columns(groups)),
        'more': side_by_side(groups, more_columns(groups)),
        'models': side_by_side(groups, cost_columns(groups)),
        'groups': [
            {
                'name': group.name,
                'scores': table_cells(score_table(group)),
                'classes': table_cells(class_table(group, analysis, _absent_from(group, absent))),
                'lines': lines(group, analysis),
            }
            for group in groups
        ],
        'costs': cost_table(analysis),
        'trade_offs': offs,
        'class_tables': [class_values(run, means, absent[run.name]) for run in runs],
        'absent': _absent(groups, absent),
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
                for group, colour in zip(groups, cycle(COLOURS))  # noqa: B905
            ],
            'runs': [curves(run, means, absent[run.name]) for run in runs],
            'costs': {
                'last': [_with_interval(group.figures[lead[0]]['last']) for group in groups],
                'axes': [off._asdict() for off in offs],
            },
            'film': strip,
            'confusions': matrices,
        },
    }


def _absent_from(group: Group, absent: Mapping[str, Sequence[str]]) -> list[str]:
    """Classes that are absent from all runs of a group; ``absent`` are those of each run."""
    first, *others = (absent[run.name] for run in group.runs)
    return [name for name in first if all(name in other for other in others)]


def _absent(
    groups: Sequence[Group], absent: Mapping[str, Sequence[str]]
) -> list[tuple[list[str], list[str]]]:
    """Experiments, and the classes absent from them, an entry for all that lack the same."""
    found: dict[tuple[str, ...], list[str]] = {}
    for group in groups:
        found.setdefault(tuple(_absent_from(group, absent)), []).append(group.label)
    return [(names, list(classes)) for classes, names in found.items() if classes]


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
