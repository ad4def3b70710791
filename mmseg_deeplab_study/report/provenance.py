"""Where the runs of a report come from, and in what they differ."""

import json
from collections.abc import Sequence
from typing import Any

from ..runs.history import flat_recipe
from ..tables import Cells, duration_text
from .analysis import Analysis, MeasuredRun


def transfer_tables(runs: Sequence[MeasuredRun]) -> list[dict[str, Any]]:
    """The head transfers, one for all runs that have the same."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        record = run.folder.head_transfer()
        if record and record.get('rows'):
            rows = [(row['target'], row['source'] or '-', row['rule']) for row in record['rows']]
            entry = found.setdefault(json.dumps(rows), {'names': [], 'heads': record['heads'], 'rows': rows})
            entry['names'].append(run.name)
    return list(found.values())


def provenance_table(runs: Sequence[MeasuredRun]) -> Cells:
    """What is recorded of where each run comes from, a column per run."""
    facts = [_facts(run) for run in runs]
    keys = list(dict.fromkeys(key for fact in facts for key in fact))
    return ['run', *(run.name for run in runs)], [[key, *(f.get(key, '-') for f in facts)] for key in keys]


def _facts(run: MeasuredRun) -> dict[str, str]:
    header = run.history.header
    checkpoint = header.get('source_checkpoint') or {}
    finished = {True: 'finished', False: 'still training, or ended early', None: '-'}[run.folder.finished]
    facts = {
        'experiment': header.get('experiment'),
        'seed': run.seed,
        'iterations': f'{run.last} of {header["max_iters"]}, {finished}'
        if 'max_iters' in header
        else run.last,
        'source checkpoint': checkpoint.get('name'),
        'its SHA-256': checkpoint.get('digest'),
        'recipe (SHA-256)': header.get('config_digest'),
    }
    for key in ('train', 'validation', 'probe'):
        data = header.get(key) or {}
        facts[f'{key} images'] = data.get('images')
        facts[f'{key} file list (SHA-256)'] = data.get('digest')
    training = run.figures['cost']['seconds']
    seconds = [row['seconds'] for row in run.history.rows if row.get('seconds') is not None]
    facts |= {
        'time training, about': None if training is None else duration_text(round(training)),
        'time evaluating': duration_text(round(sum(seconds))) if seconds else None,
        'hardware': header.get('hardware'),
        'processes': header.get('world_size'),
        'versions': ', '.join(f'{name} {value}' for name, value in (header.get('versions') or {}).items())
        or None,
    }
    return {key: '-' if value is None else str(value) for key, value in facts.items()}


def config_differences(analysis: Analysis) -> Cells:
    """Keys of the recipes in which the experiments differ, and their values."""
    groups = [g for g in analysis.groups if g.runs[0].history.header.get('config') is not None]
    flat = [dict(flat_recipe(group.runs[0].history.header['config'])) for group in groups]
    keys = list(dict.fromkeys(key for config in flat for key in config))
    rows = [[key, *(config.get(key, '-') for config in flat)] for key in keys]
    return ['key', *(group.label for group in groups)], [row for row in rows if len(set(row[1:])) > 1]
