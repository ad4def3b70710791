"""Write the tables of configs/*/README.md: what each leaf config is, what it starts from, and its command.

python -m benchmarks.config_tables [--measure]
"""

import argparse
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

import mmseg_deeplab_study  # noqa: F401
from benchmarks.tables import markdown_table, write_between_marks
from mmseg_deeplab_study.evaluation.metrics.scores import LABELLED
from mmseg_deeplab_study.evaluation.seeds import estimate_over_seeds
from mmseg_deeplab_study.runs.header import describe_model
from mmseg_deeplab_study.runs.history import read_history

REPO = Path(__file__).resolve().parents[1]
RECORDS = REPO / 'docs/findings/records'
MARKS = '<!-- leaves: begin -->', '<!-- leaves: end -->'
SIZES = (
    '*Stride*: of the feature maps that the head sees. *Parameters* and *multiply-adds*: of the model '
    'without auxiliary heads; multiply-adds are those of one crop, up to the logits.'
)
RESULTS = (
    '*mIoU*: at the last iteration, in %, over the labelled classes, with the 95 % interval over seeds, from '
    '[the kept records](../../docs/findings.md).'
)
NO_RESULTS = 'There are no results: these runs need a GPU and have not been made yet.'
read = cache(Config.fromfile)


class Size(NamedTuple):
    """What is measured of a leaf's model, as the table shows it."""

    stride: str
    parameters: str
    multiply_adds: str


class Leaf(NamedTuple):
    """A leaf config and what its metafile says of it."""

    path: Path
    backbone: str
    data: str

    @property
    def config(self) -> Config:
        """The leaf, read."""
        return read(self.path)

    @property
    def crop(self) -> tuple[int, int]:
        """Height and width of a training image."""
        return next(step.crop_size for step in pipeline(self.config) if step.type == 'RandomCrop')


def folders() -> list[Path]:
    """The folders of configs that have a metafile."""
    return sorted(path.parent for path in (REPO / 'configs').glob('*/metafile.yml'))


def leaves(folder: Path) -> list[Leaf]:
    """The leaves that a folder's metafile lists, in its order."""
    models = yaml.safe_load((folder / 'metafile.yml').read_text())['Models']
    return [
        Leaf(REPO / model['Config'], model['Metadata']['Architecture'][0], model['Metadata']['Training Data'])
        for model in models
    ]


def pipeline(config: Config) -> Iterable[Any]:
    """The steps of the training pipeline, also where a wrapper holds the dataset."""
    dataset = config.train_dataloader.dataset
    while 'pipeline' not in dataset:
        dataset = dataset.datasets[0] if 'datasets' in dataset else dataset.dataset
    return dataset.pipeline


def measure(leaf: Leaf) -> Size:
    """Build a leaf's model and count it: strides that the head sees, parameters, multiply-adds of a crop."""
    init_default_scope('mmseg')
    model = MODELS.build(leaf.config.model)
    maps: list[tuple[int, ...]] = []

    def look(_: nn.Module, __: tuple, features: tuple) -> None:
        index = model.decode_head.in_index
        chosen = [features[i] for i in (index if isinstance(index, list | tuple) else [index])]
        maps.extend(tuple(feature.shape[-2:]) for feature in chosen)

    # The copy that is counted has the hook, too. MMSegmentation calls the head's forward, which no hook sees.
    (model.neck if model.with_neck else model.backbone).register_forward_hook(look)
    described = describe_model(model, leaf.crop, leaf.crop)
    # Networks differ in how they round a side that their stride does not divide.
    strides = sorted({2 ** round(math.log2(leaf.crop[0] / height)) for height, _ in maps})
    return Size(
        ' to '.join(map(str, dict.fromkeys([strides[0], strides[-1]]))),
        f'{three_digits(described["parameters"], 1e6)} M',
        f'{three_digits(described["multiply_adds"], 1e9)} G',
    )


def three_digits(value: int | None, unit: float) -> str:
    """A number in units, to three digits without an exponent; - for what could not be counted."""
    return '-' if value is None else f'{value / unit:.{max(0, 2 - math.floor(math.log10(value / unit)))}f}'


def given_source(leaf: Leaf) -> str | None:
    """What the leaf's first lines say for ``--load-from``; a leaf's name where they say that it trains it."""
    comment = re.match('(#.*\n)*', leaf.path.read_text())[0]
    if named := re.search(r'SOURCE_CHECKPOINT: what (\S+)\.py trains', comment):
        return named[1]
    found = re.search(r'--load-from (\S+)', comment)
    return found[1] if found else None


def trained_by(leaf: Leaf) -> Path | None:
    """The leaf that trains this one's source, if one beside it does."""
    return next((path for path in leaf.path.parent.glob('*.py') if path.stem == given_source(leaf)), None)


def source(leaf: Leaf) -> str:
    """The weights that training starts from, with a link where they have an address."""
    if path := trained_by(leaf):
        return f'[its source stage]({path.name})'
    config = leaf.config
    initial = config.model.backbone.get('init_cfg') or {}
    weights = given_source(leaf) or config.get('load_from') or initial.get('checkpoint')
    if not weights:
        return 'random weights'
    if weights.startswith('https://'):
        return f'[`{weights.rpartition("/")[2]}`]({weights})'
    return f'`{weights}`'


def command(leaf: Leaf) -> str:
    """The command that trains a leaf, in the repository's folder."""
    path = trained_by(leaf)
    load_from = given_source(leaf)
    if path:
        load_from = f'work_dirs/{path.stem}/iter_{read(path).train_cfg.max_iters}.pth'
    line = f'python tools/train.py {leaf.path.relative_to(REPO)}'
    return f'{line} \\\n    --load-from {load_from}' if load_from else line


@cache
def kept_runs() -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Of each kept run of a study without variants: its leaf's name, header and last validation."""
    found = []
    for path in sorted(RECORDS.glob('*/*/seed*/adaptation.jsonl*')):
        history = read_history(path)
        name = re.fullmatch(r'(.*)_\d{8}_\d{6}', history.header['experiment'])[1]
        found.append((name, history.header, history.validations[-1]))
    return found


def result(leaf: Leaf) -> str:
    """Last mIoU of the kept runs of a leaf from its own source: mean over seeds, interval, iterations."""
    initial = leaf.config.model.backbone.get('init_cfg')
    runs = [
        (header['seed'], last[LABELLED[0]], last['iter'])
        for name, header, last in kept_runs()
        if name == leaf.path.stem
        and header['load_from'] == given_source(leaf)
        and header['config']['model']['backbone'].get('init_cfg') == initial
    ]
    if not runs:
        return '-'
    seeds, scores, iterations = map(list, zip(*runs, strict=True))
    ends = sorted(set(iterations))
    if len(ends) > 1:
        raise ValueError(f'{leaf.path.name}: kept runs end at iterations {ends}; expected them to agree')
    mean = estimate_over_seeds(scores, seeds)
    interval = '' if mean.low is None else f' [{mean.low:.1f}, {mean.high:.1f}]'
    return f'{mean.mean:.1f}{interval} ({ends[0]}, {len(seeds)})'


def table(folder: Path, sizes: Mapping[str, Size]) -> str:
    """What belongs between the marks of a folder's README; ``sizes`` by the leaf's name."""
    return '\n'.join(_lines(leaves(folder), sizes))


def _lines(found: list[Leaf], sizes: Mapping[str, Size]) -> Iterator[str]:
    results = [result(leaf) for leaf in found]
    measured = any(value != '-' for value in results)
    head = ['config', 'backbone', 'trained on', 'batch, iterations', 'crop', 'stride', 'parameters']
    head += ['multiply-adds', 'starts from'] + ['mIoU (iteration, seeds)'] * measured
    rows = []
    for leaf, value in zip(found, results, strict=True):
        config, size = leaf.config, sizes[leaf.path.stem]
        row = [f'[`{leaf.path.stem}`]({leaf.path.name})', leaf.backbone, leaf.data]
        row += [f'{config.train_dataloader.batch_size}, {config.train_cfg.max_iters}']
        row += ['x'.join(map(str, leaf.crop)), *size, source(leaf)] + [value] * measured
        rows.append(row)
    yield from markdown_table(head, rows)
    yield SIZES
    yield ''
    yield RESULTS if measured else NO_RESULTS
    yield ''
    yield 'In the folder of the clone, with [the data](../../docs/data.md) in place:'
    yield ''
    yield '```bash'
    yield from map(command, found)
    yield '```'


def written_sizes(folder: Path) -> dict[str, Size]:
    """The sizes that a folder's README has now, by the leaf's name."""
    rows = re.findall(
        r'^\| \[`(\S+)`\]\(\S+\.py\) \| (.*) \|$', (folder / 'README.md').read_text(), re.MULTILINE
    )
    return {name: Size(*cells.split(' | ')[4:7]) for name, cells in rows}


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--measure', action='store_true', help='count every model again, not only new ones')
    again = parser.parse_args().measure
    for folder in folders():
        known = {} if again else written_sizes(folder)
        sizes = {leaf.path.stem: known.get(leaf.path.stem) or measure(leaf) for leaf in leaves(folder)}
        write_between_marks(folder / 'README.md', table(folder, sizes), MARKS)


if __name__ == '__main__':
    main()
