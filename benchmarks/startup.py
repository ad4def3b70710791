"""What it takes to start: tools, imports, and a run to its first iteration.

Needs CAMVID_ROOT. Writes a table between its marks of OUT/speed.md.
"""

# The standard library alone until all is measured: the peak memory of a child begins with its parent's.
import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
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
MODELS = '`import mmseg.models`'
IMPORTS = {
    '`import torch`': 'import torch',
    MODELS: f'{PLACEHOLDER}import mmseg.models',
    '`import mmseg_deeplab_study`': 'import mmseg_deeplab_study',
}
STOCK, OURS = 'stock', 'ours'
MOMENTS = {'the validation at iteration 0': 'before_train', 'the end of iteration 1': 'after_train_iter'}
# The leaf as it is, but for data that the measured process reads itself, and a hook that ends it.
CONFIG = """
_base_ = {leaf!r}
custom_imports = dict(imports=['mmseg_deeplab_study', 'benchmarks.end_hook'])
custom_hooks = [*_base_.custom_hooks, dict(type='EndHook', moment={moment!r})]
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


def start(*arguments: object) -> Figures:
    """Run Python, and say what it took; RuntimeError with the end of what it printed if it failed."""
    command = [sys.executable, '-W', 'ignore', *map(str, arguments)]
    with TemporaryDirectory() as folder, open(f'{folder}/log', 'w+') as log:
        env = {**os.environ, 'PYTHONPATH': str(ROOT)}
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f'{arguments}: exit code {process.returncode}\n{log.read()[-2000:]}')
    return {'cpu': usage.ru_utime + usage.ru_stime, 'seconds': seconds, 'mb': usage.ru_maxrss / 1024}


def measure(tasks: Mapping[str, Sequence[object]], rounds: int) -> dict[str, Figures]:
    """Medians by task, which are the arguments of Python and take turns.

    One round first fills the file caches and is not counted.
    """
    found: dict[str, list[Figures]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, arguments in tasks.items():
            print(f'round {number} of {rounds}: {name}', file=sys.stderr)
            found[name].append(start(*arguments))

    return {
        name: {key: median(row[key] for row in rows[1:]) for key in rows[0]} for name, rows in found.items()
    }


def make_tasks(folder: Path, weights: Path) -> dict[str, Sequence[object]]:
    """What is measured, by name; configs are written into ``folder``."""
    tools = sorted(TOOLS.glob('[!_]*.py'))
    tasks: dict[str, Sequence[object]] = {f'`tools/{path.name} --help`': (path, '--help') for path in tools}
    tasks |= {name: ('-c', code) for name, code in IMPORTS.items()}
    stock = Path(find_spec('mmseg').origin).parent / '.mim/tools/train.py'
    for moment, method in MOMENTS.items():
        config = folder / f'{method}.py'
        load_from = f'tflite://{weights.absolute()}'
        config.write_text(CONFIG.format(leaf=str(LEAF), moment=method, load_from=load_from))
        for name, script in ((STOCK, stock), (OURS, TOOLS / 'train.py')):
            tasks[f'{name}, to {moment}'] = (script, config)
    return tasks


def lines(found: Mapping[str, Figures]) -> Iterator[str]:
    """Three Markdown tables: tools, imports, and a run beside stock's."""
    from benchmarks.tables import markdown_table

    def row(name: str, beside: str | None = None) -> list[str]:
        figures = found[name]
        cells = [name, f'{figures["cpu"]:.2f}', f'{figures["seconds"]:.2f}', f'{figures["mb"]:.0f}']
        return cells + [f'{figures[key] / found[beside][key]:.2f}' for key in ('cpu', 'seconds') if beside]

    head = ('CPU, s', 'wall, s', 'peak, MB')
    yield from markdown_table(('', *head), (row(name) for name in found if name.endswith(' --help`')))
    imports = (row(name, MODELS) for name in IMPORTS)
    yield from markdown_table(('', *head, 'CPU / mmseg.models', 'wall / mmseg.models'), imports)
    starts = (
        row(f'{name}, to {moment}', f'{STOCK}, to {moment}') for moment in MOMENTS for name in (STOCK, OURS)
    )
    yield from markdown_table(('`tools/train.py`', *head, 'CPU / stock', 'wall / stock'), starts)


def main() -> None:
    """Measure, then write the tables."""
    args = parse_args()
    with TemporaryDirectory() as folder:
        found = measure(make_tasks(Path(folder), args.weights), args.rounds)

    from benchmarks.measure import machine
    from benchmarks.tables import write_between_marks

    text = '\n'.join([f'Measured on {machine()}, medians of {args.rounds}.', *lines(found)])
    write_between_marks(args.out / 'speed.md', text, MARKS)
    print(text)


if __name__ == '__main__':
    main()
