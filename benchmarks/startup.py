"""What it takes to start: tools, imports, and a run to its first iteration.

Needs CAMVID_ROOT. Writes a table between its marks of OUT/speed.md.
"""

# The standard library alone until all is measured: the peak memory of a child begins with its parent's.
import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / 'tools'
LEAF = ROOT / 'configs/camvid/deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid.py'
MARKS = ('<!-- starting: begin -->', '<!-- starting: end -->')
PLACEHOLDER = (
    'REGISTERS_NOTHING = True\n'
    'from mmseg_deeplab_study.compat import make_mmcv_ops_importable\n'
    'make_mmcv_ops_importable()\n'
)
TORCH, MODELS, PACKAGE = 'import torch', 'import mmseg.models', 'import mmseg_deeplab_study'
IMPORTS = {TORCH: TORCH, MODELS: PLACEHOLDER + MODELS, PACKAGE: PACKAGE}
STOCK, OURS = 'stock', 'ours'
# The leaf as it is, but for data that the measured process reads itself, and a hook that ends it.
CONFIG = """
_base_ = {leaf!r}
custom_imports = dict(imports=['mmseg_deeplab_study', 'benchmarks.first_iteration'])
custom_hooks = [*_base_.custom_hooks, dict(type='FirstIterationHook')]
train_dataloader = dict(num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
load_from = {load_from!r}
train_cfg = dict(max_iters=1)
"""
Figures = Mapping[str, float]  # seconds of CPU, seconds, MB at most


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        '--weights', type=Path, required=True, help="TensorFlow's deeplabv3_257_mv_gpu.tflite"
    )
    parser.add_argument('--rounds', type=int, default=5, help='timed repetitions (default: %(default)s)')
    parser.add_argument(
        '-o', '--out', type=Path, default='docs', help='folder of speed.md (default: %(default)s)'
    )
    args = parser.parse_args()
    if not args.weights.is_file():
        parser.error(f'--weights {args.weights}: no such file')
    root = Path(os.environ.get('CAMVID_ROOT') or 'missing')
    # What is measured runs in a folder of its own.
    if not (root.is_absolute() and root.is_dir()):
        parser.error('CAMVID_ROOT must be the absolute path of the folder of photographs')
    return args


def start(*arguments: object) -> Iterator[tuple[str, Figures]]:
    """Run Python, and say what it took: at each moment that it prints, and at its end.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    command = [sys.executable, '-W', 'ignore', *map(str, arguments)]
    started = time.monotonic()
    with TemporaryDirectory() as folder, open(f'{folder}/log', 'w+') as log:
        env = {**os.environ, 'PYTHONPATH': str(ROOT)}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read()
    if process.returncode:
        raise RuntimeError(f'{arguments}: exit code {process.returncode}\n{text[-2000:]}')
    for line in text.splitlines():
        if line.startswith('{"moment": '):
            said = json.loads(line)
            yield (said['moment'], {'cpu': said['cpu'], 'seconds': said['clock'] - started, 'mb': said['mb']})
    end = {'cpu': usage.ru_utime + usage.ru_stime, 'seconds': seconds, 'mb': usage.ru_maxrss / 1024}
    yield 'the end', end


def measure(
    tasks: Mapping[str, Callable[[], Iterator[tuple[str, Figures]]]], rounds: int
) -> dict[str, dict[str, Figures]]:
    """Medians by task and moment; tasks take turns.

    One round first fills the file caches and is not counted.
    """
    found: dict[str, dict[str, list[Figures]]] = {name: {} for name in tasks}
    for number in range(-1, rounds):
        for name, task in tasks.items():
            print(f'round {number + 1} of {rounds}: {name}', file=sys.stderr)
            for moment, figures in task():
                if number >= 0:
                    found[name].setdefault(moment, []).append(figures)

    def medians(rows: list[Figures]) -> Figures:
        return {key: median(row[key] for row in rows) for key in rows[0]}

    return {name: {moment: medians(rows) for moment, rows in found[name].items()} for name in tasks}


def tasks(config: Path) -> dict[str, Callable[[], Iterator[tuple[str, Figures]]]]:
    """What is measured, by name."""
    stock = Path(find_spec('mmseg').origin).parent / '.mim/tools/train.py'
    helps = {f'tools/{path.name}': partial(start, path, '--help') for path in sorted(TOOLS.glob('[!_]*.py'))}
    imports = {name: partial(start, '-c', code) for name, code in IMPORTS.items()}
    trains = {STOCK: partial(start, stock, config), OURS: partial(start, TOOLS / 'train.py', config)}
    return {**helps, **imports, **trains}


def lines(found: Mapping[str, Mapping[str, Figures]]) -> Iterator[str]:
    """Three Markdown tables: tools, imports, and a run beside stock's."""
    from benchmarks.tables import markdown_table

    def row(name: str, figures: Figures, beside: Figures | None = None) -> list[str]:
        cells = [name, f'{figures["cpu"]:.2f}', f'{figures["seconds"]:.2f}', f'{figures["mb"]:.0f}']
        return cells + [f'{figures[key] / beside[key]:.2f}' for key in ('cpu', 'seconds') if beside]

    head = ('CPU, s', 'wall, s', 'peak, MB')
    ends = {name: moments['the end'] for name, moments in found.items()}
    helps = (row(f'`{name} --help`', end) for name, end in ends.items() if name.startswith('tools/'))
    yield from markdown_table(('', *head), helps)
    imports = (row(f'`{name}`', ends[name], ends[MODELS]) for name in IMPORTS)
    yield from markdown_table(('', *head, 'CPU / mmseg.models', 'wall / mmseg.models'), imports)
    starts = (
        row(f'{name}, to {moment}', found[name][moment], beside)
        for moment, beside in found[STOCK].items()
        for name in (STOCK, OURS)
        if moment != 'the end'
    )
    yield from markdown_table(('`tools/train.py`', *head, 'CPU / stock', 'wall / stock'), starts)


def main() -> None:
    """Measure, then write the tables."""
    args = parse_args()
    with TemporaryDirectory() as folder:
        config = Path(folder, 'first_iteration.py')
        load_from = f'tflite://{args.weights.absolute()}'
        config.write_text(CONFIG.format(leaf=str(LEAF), load_from=load_from))
        found = measure(tasks(config), args.rounds)

    from benchmarks.measure import machine
    from benchmarks.tables import write_between_marks

    text = '\n'.join([f'Measured on {machine()}, medians of {args.rounds}.', *lines(found)])
    write_between_marks(args.out / 'speed.md', text, MARKS)
    print(text)


if __name__ == '__main__':
    main()
