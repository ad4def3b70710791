"""What was measured as Markdown and as a picture."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

from benchmarks.setups import STOCK

BEGIN, END = '<!-- measured: begin -->', '<!-- measured: end -->'
# Of Okabe and Ito's palette, which the colour-blind can tell apart.
COLOURS = {STOCK: '#999999', 'float32': '#0072B2', 'bfloat16': '#D55E00'}
Results = Mapping[str, Any]


def write(results: Results, folder: Path) -> str:
    """Write the tables into ``speed.md`` and ``speed.png``; returns the tables."""
    dtypes = results['dtypes']
    text = '\n'.join(_lines(results, dtypes))
    write_between_marks(folder / 'speed.md', text)
    if results.get('validation'):
        _draw(results, folder / 'speed.png', dtypes)
    return text


def write_between_marks(page: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put what was measured between the marks of a page, if there is such a page."""
    if page.exists():
        begin, end = marks
        before, _, rest = page.read_text().partition(begin)
        page.write_text(f'{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}')


def _lines(results: Results, dtypes: Sequence[str]) -> Iterable[str]:
    for line in dict.fromkeys(results['machines'].values()):
        yield f'Measured on {line}.'
    for section, write in _SECTIONS.items():
        if results.get(section):
            yield from write(results[section], dtypes)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """Lines of a table, an empty one before and after it."""
    yield ''
    yield f'| {" | ".join(head)} |'
    yield f'|{"---|" * len(head)}'
    for row in rows:
        yield f'| {" | ".join(map(str, row))} |'
    yield ''


def _seconds(value: float) -> str:
    return f'{value:.2f}' if value >= 1 else f'{value:.3f}'


def _ratio(stock: float, ours: float) -> str:
    return f'{_seconds(ours)} ({stock / ours:.1f}x)'


def _validation(results: Results, dtypes: Sequence[str]) -> Iterable[str]:
    yield '\n### A validation pass, seconds per image'
    rows, beside = [], []
    for key, value in results.items():
        freed, kept, apart = value['seconds'], value['seconds_kept'], value['difference']
        pairs = [
            *((freed[STOCK], kept[name]) for name in dtypes),
            *((freed[STOCK], freed[name]) for name in dtypes),
            *((kept[STOCK], kept[name]) for name in (STOCK, *dtypes)),
        ]
        rows.append([key, _seconds(freed[STOCK]), *(_ratio(*pair) for pair in pairs)])
        forwards = (f'{kept[name] / kept[f"forward {name}"]:.2f}' for name in dtypes)
        labels = (f'{apart[name]["labels"]:.4f} %' for name in dtypes)
        points = ' / '.join(f'{apart[name]["points"]:.4f}' for name in dtypes)
        beside.append([key, *forwards, *labels, points])
    head = ['', 'stock', *dtypes, *(f'{name}, memory returned' for name in dtypes)]
    yield from markdown_table([*head, *(f'{name}, memory kept' for name in (STOCK, *dtypes))], rows)
    yield '### Beside the network alone, and beside the labels of stock'
    head = ['', *(f'pass / forward, {name}' for name in dtypes)]
    head += [*(f'labels as stock, {name}' for name in dtypes), 'mIoU apart, points']
    yield from markdown_table(head, beside)


def _memory(results: Results, dtypes: Sequence[str]) -> Iterable[str]:
    yield '### Peak memory of a pass, MB (of stock), and the folded copy of the weights'
    rows = []
    for key, value in results.items():
        peak = value['peak_mb']
        cells = (f'{peak[name]:.0f} ({peak[name] / peak[STOCK]:.2f})' for name in dtypes)
        rows.append([key, f'{peak[STOCK]:.0f}', *cells, *(f'{value["folded_mb"][n]:.0f}' for n in dtypes)])
    yield from markdown_table(['', STOCK, *dtypes, *(f'folded copy, {name}' for name in dtypes)], rows)


def _training(results: Results, dtypes: Sequence[str]) -> Iterable[str]:
    yield '### A training step on two crops, seconds'
    names = [*(['stock --amp'] if 'bfloat16' in dtypes else []), *dtypes]
    rows = []
    for key, value in results.items():
        freed, kept = value['seconds'], value['seconds_kept']
        for memory, stock, ours in (
            ('returned', freed, freed),
            ('kept', kept, kept),
            ('kept by ours alone', freed, {**kept, 'stock --amp': freed.get('stock --amp')}),
        ):
            ratios = (_ratio(stock[STOCK], ours[name]) for name in names)
            rows.append([key, memory, _seconds(stock[STOCK]), *ratios])
    head = ['bfloat16 (--amp)' if name == 'bfloat16' else name for name in names]
    yield from markdown_table(['', 'freed memory', 'stock', *head], rows)


def _rounding(results: Results, dtypes: Sequence[str]) -> Iterable[str]:
    steps = next(iter(results.values()))['steps']
    yield f'### Losses of {steps} updates from random weights, relative to stock, at most'
    head = ['', 'one update in float64', 'ours, float32', 'stock, images changed by one rounding']
    shapes = {'first update, float64': '.0e', 'float32': '.3f', 'nudged': '.3f'}
    yield from markdown_table(
        head,
        ((name, *(format(v[key], shape) for key, shape in shapes.items())) for name, v in results.items()),
    )


def _adapted(results: Results, dtypes: Sequence[str]) -> Iterable[str]:
    yield "### The real run, PASCAL's weights on CamVid, against stock's segmentor"
    results = results['CamVid']
    stock = results[STOCK]
    losses = zip(stock['loss'][:20], results['float32']['loss'][:20], strict=True)
    loss = f'{max(abs(a - b) / a for a, b in losses):.1e}'
    rows = [['loss of the first 20 iterations, relative, at most', loss, *[''] * (len(dtypes) - 1)]]
    validations = range(len(stock['miou']))
    for key, name, places in (
        ('miou', 'the last validation', validations[-1:]),
        ('miou', 'the best of all', [max(validations, key=lambda i: stock['miou'][i])]),
        ('labelled', 'labelled classes, at most of all validations', validations),
        ('labelled', 'labelled classes, at most from iteration 25 on', validations[5:]),
        ('miou', 'all classes, at most of all validations', validations),
    ):
        apart = [max(abs(results[n][key][i] - stock[key][i]) for i in places) for n in dtypes]
        rows.append([f'mIoU, points apart: {name}', *(f'{value:.3f}' for value in apart)])
    yield from markdown_table(['', *dtypes], rows)


def _rounds(results: Results, dtypes: Sequence[str]) -> Iterable[str]:
    yield '### A round of the study: five iterations and a validation, seconds (share validating)'
    rows = []
    for key, value in results.items():
        cells = []
        for name in (STOCK, *dtypes):
            ratio = '' if name == STOCK else f', {value[STOCK]["round"] / value[name]["round"]:.1f}x'
            share = 100 * value[name]['validation'] / value[name]['round']
            cells.append(f'{value[name]["round"]:.1f} ({share:.0f} %){ratio}')
        own = (value[name] for name in dtypes)
        trackers = (f'{1000 * v["tracker"]:.0f} ms, {100 * v["tracker"] / v["round"]:.2f} %' for v in own)
        rows.append([key, *cells, *trackers])
    yield from markdown_table(['', STOCK, *dtypes, *(f'tracker, {name}' for name in dtypes)], rows)


def _growth(results: Results, dtypes: Sequence[str]) -> Iterable[str]:
    ((network, value),) = results.items()
    variants = (STOCK, *dtypes)

    def rows(section: str, names: Sequence[str], first: Callable[[str], str] = str) -> Iterable[list[str]]:
        for number, cells in value[section].items():
            yield [first(number), *(_seconds(cells[name]) for name in names)]

    yield f'### How it grows ({network}, memory returned)'
    yield from markdown_table(['image', *variants], rows('height', variants, lambda h: f'{h}x{2 * int(h)}'))
    yield 'After the network, for one image of 512x1024 (resize, labels, counts):'
    memory = ([f'{cells[f"{n} MB"]:.0f}' for n in (STOCK, 'float32')] for cells in value['classes'].values())
    head = ['classes', 'stock', 'ours', 'stock, MB', 'ours, MB']
    by_classes = zip(rows('classes', (STOCK, 'float32')), memory, strict=True)
    yield from markdown_table(head, ([*seconds, *megabytes] for seconds, megabytes in by_classes))
    yield 'A pass over this number of images of 256x512:'
    yield from markdown_table(['images', *variants], rows('images', variants))


_SECTIONS = {
    'validation': _validation,
    'memory': _memory,
    'training': _training,
    'rounding': _rounding,
    'adapted': _adapted,
    'rounds': _rounds,
    'growth': _growth,
}


def _draw(results: Results, path: Path, dtypes: Sequence[str]) -> None:
    matplotlib.use('Agg')
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout='constrained')
    passes = results.get('validation', {})
    for place, name in enumerate((STOCK, *dtypes)):
        heights = [v['seconds' if name == STOCK else 'seconds_kept'][name] for v in passes.values()]
        bars = axes[0].bar(
            [i + 0.27 * place for i in range(len(heights))], heights, 0.25, color=COLOURS[name]
        )
        axes[0].bar_label(bars, [_seconds(h) for h in heights], fontsize=7)
        bars.set_label(name if name == STOCK else f'ours, {name}')
    axes[0].set_xticks([i + 0.27 for i in range(len(passes))], [k.replace(', ', '\n') for k in passes])
    axes[0].set(ylabel='seconds per image', title='A validation pass', yscale='log')
    axes[0].tick_params(axis='x', labelsize=7)
    axes[0].margins(y=0.15)
    heights = results.get('growth', {}).get('MobileNetV2', {}).get('height', {})
    for name in (STOCK, *dtypes):
        pixels = [2 * int(height) ** 2 / 1e6 for height in heights]
        axes[1].plot(pixels, [v[name] for v in heights.values()], 'o-', color=COLOURS[name])
    axes[1].set(
        xlabel='megapixels', ylabel='seconds per image', title='Growth (MobileNetV2, memory returned)'
    )
    figure.legend(loc='outside lower center', ncols=3, frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
