"""The whole study on data drawn by ourselves: learn PASCAL-like objects, adapt to Cityscapes-like streets.

For each backbone runs tools/train.py on two configs of configs/demo, as a user would, and ends with a table,
a figure and the report of both adaptations. The data are procedural pictures, not photographs: the scores
show how a network adapts, not how good it is. A stage that is complete is not run again; one that was cut
short starts over in a fresh folder.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from mmseg_deeplab_study.atomic_file import write_atomically
from mmseg_deeplab_study.datasets.street_scenes import write_cityscapes_like, write_voc_like
from mmseg_deeplab_study.engine.run_header import config_digest
from mmseg_deeplab_study.evaluation.adaptation import Adaptation, summarise_adaptation, summarise_forgetting
from mmseg_deeplab_study.evaluation.history import FILE_NAME, History, read_history
from mmseg_deeplab_study.report.analysis import analyse
from mmseg_deeplab_study.report.figures import draw_adaptation
from mmseg_deeplab_study.report.page import render_page
from mmseg_deeplab_study.report.runs import RunFolder
from mmseg_deeplab_study.version import __version__

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs' / 'demo'
BACKBONES = {'MobileNetV2': 'deeplabv3_mobilenet-v2-os16', 'ResNet-50': 'deeplabv3_r50-os16'}
SOURCE, TARGET = 'drawn-voc-64x64', 'drawn-voc2drawn-cityscapes-128x256'
SOURCE_SIZE, TARGET_SIZE = (96, 96), (128, 256)
ROWS = {'all': 'mIoU', 'seen': 'mIoU.seen', 'unseen': 'mIoU.unseen'}
DONE = 'stage.json'
DRAWN = 'drawn data (not photographs): its scores show how a network adapts, not how good it is'
# images of: source train, source val, target train, target val
IMAGES, QUICK_IMAGES = (2000, 42, 200, 24), (32, 8, 16, 4)
QUICK_ITERATIONS = 10
QUICK_OPTIONS = (
    f'train_cfg.max_iters={QUICK_ITERATIONS}',
    'default_hooks.logger.interval=1',
)
SECONDS_BETWEEN_LINES = 10
_ITERATION = re.compile(r'Iter\(train\) \[ *(\d+)/(\d+)\]')

console = Console(highlight=False, markup=False, soft_wrap=True)


class StageError(RuntimeError):
    """A stage ended with an error; says where its log is and how that ends."""


class Stage(NamedTuple):
    """One call of tools/train.py: a config, what overrides it, and the variables that it reads."""

    title: str
    config: Path
    seed: int
    options: tuple[str, ...]
    variables: dict[str, str]

    def key(self) -> str:
        """Digest of all that makes the stage what it is."""
        config = config_digest(Config.fromfile(self.config))
        content = [__version__, config, self.seed, self.options, sorted(self.variables.items())]
        return sha256(json.dumps(content).encode()).hexdigest()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'), help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='seed of the training runs (default: 0)')
    parser.add_argument(
        '--backbones',
        nargs='+',
        choices=BACKBONES,
        default=list(BACKBONES),
        help='default: both',
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help=f'{QUICK_ITERATIONS} iterations on a few pictures: does everything run? Its scores say nothing.',
    )
    return parser.parse_args()


def find_config(model: str, data: str) -> Path:
    """The leaf config of configs/demo for a model and its data, whatever its schedule."""
    (path,) = CONFIGS.glob(f'{model}_*_{data}.py')
    return path


def draw_data(root: Path, images: Sequence[int]) -> None:
    """Write both sets under ``root``, unless they are there."""
    console.print(f'Drawing the data in {root}: procedural pictures, not photographs')
    write_voc_like(root / 'drawn-voc', *images[:2], size=SOURCE_SIZE)
    write_cityscapes_like(root / 'drawn-cityscapes', *images[2:], size=TARGET_SIZE)


def run_stage(stage: Stage, folder: Path, label: str) -> Path:
    """Run a stage below ``folder``, unless it is complete there, and return its work_dir.

    The first attempt gets ``folder/<config name>``, a further one ``folder/<config name>.2`` and so on.

    Raises:
        StageError: training failed.
    """
    key, label = stage.key(), f'{label} {stage.title}'
    work_dir = folder / stage.config.stem
    attempt = 1
    while work_dir.exists():
        done = work_dir / DONE
        if done.is_file() and json.loads(done.read_text())['key'] == key:
            console.print(f'{label}: already done, {work_dir}')
            return work_dir
        attempt += 1
        work_dir = folder / f'{stage.config.stem}.{attempt}'
    work_dir.mkdir(parents=True)
    log = work_dir / 'train.log'
    console.print(f'{label}: log in {log}')
    started = time.monotonic()
    _train(stage, work_dir, log, label)
    seconds = time.monotonic() - started
    (work_dir / DONE).write_text(json.dumps({'key': key, 'seconds': seconds}) + '\n')
    console.print(f'{label}: done in {_clock(seconds)}')
    return work_dir


def _train(stage: Stage, work_dir: Path, log: Path, label: str) -> None:
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(stage.config)]
    command += ['--work-dir', str(work_dir), '--seed', str(stage.seed)]
    if stage.options:
        command += ['--cfg-options', *stage.options]
    # A waiting thread should soon sleep: where other programs run, spinning makes a step many times slower.
    environment = {'GOMP_SPINCOUNT': '2000', **os.environ, **stage.variables}
    with log.open('w') as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        _follow(process, log, label)
    finally:
        # Also when the demonstration itself is interrupted: leave nothing running behind it.
        if process.poll() is None:
            process.terminate()
        code = process.wait()
    if code:
        last = '\n'.join(log.read_text(errors='replace').splitlines()[-12:])
        raise StageError(f'{label}: failed with exit code {code}; the end of {log}:\n{last}')


def _follow(process: subprocess.Popen, log: Path, label: str) -> None:
    """Show how far training is until the process ends: in place on a terminal, else a line at a time."""
    first, printed, printed_at = None, None, -float('inf')
    with console.status(f'{label}: starting') as status:
        while process.poll() is None:
            time.sleep(0.2)
            found = _ITERATION.findall(log.read_text(errors='replace'))
            if not found:
                continue
            now, (done, total) = time.monotonic(), map(int, found[-1])
            # Counted from the first iteration seen: Python's start says nothing about the pace.
            first = first or (now, done)
            text = f'{label}: iteration {done}/{total}'
            if first[1] < done < total:
                pace = (now - first[0]) / (done - first[1])
                text += f', about {_clock(pace * (total - done))} left'
            status.update(text)
            if not console.is_terminal and done != printed and now - printed_at >= SECONDS_BETWEEN_LINES:
                console.print(text)
                printed, printed_at = done, now


def _clock(seconds: float) -> str:
    return f'{int(seconds // 60)}:{int(seconds % 60):02d} min'


def run_study(args: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Run every stage in turn; yield each backbone with the work_dir of its adaptation."""
    args.work_dir = args.work_dir.resolve()
    scale = 'quick' if args.quick else 'full'
    data = args.work_dir / f'data-{scale}'
    draw_data(data, QUICK_IMAGES if args.quick else IMAGES)
    folder = args.work_dir / f'{scale}-seed{args.seed}'
    options = QUICK_OPTIONS if args.quick else ()
    variables, stages = {'DEMO_ROOT': str(data)}, 2 * len(args.backbones)
    for number, name in enumerate(args.backbones):
        model = BACKBONES[name]
        config = find_config(model, SOURCE)
        stage = Stage(f'{name} learns the drawn objects', config, args.seed, options, variables)
        source = run_stage(stage, folder, f'[{2 * number + 1}/{stages}]')
        (checkpoint,) = source.glob('iter_*.pth')
        config = find_config(model, TARGET)
        more = {**variables, 'DEMO_SOURCE': str(checkpoint)}
        stage = Stage(f'{name} adapts to the drawn streets', config, args.seed, options, more)
        yield name, run_stage(stage, folder, f'[{2 * number + 2}/{stages}]')


def _recovery(found: Adaptation) -> str:
    if not found.dip:
        return '-'
    return 'not yet' if found.recovery_iter is None else str(found.recovery_iter)


def make_table(histories: dict[str, History]) -> Table:
    """The figures of each adaptation, in percent, and the iterations where they were reached."""
    table = Table('backbone', 'classes', title='mIoU (%) on the drawn streets (not photographs)')
    for column in ('at 0', 'lowest', 'at iter', 'recovered', 'last', 'best'):
        table.add_column(column, justify='right')
    for name, history in histories.items():
        for title, score in ROWS.items():
            found = summarise_adaptation(history.validations, score)
            table.add_row(
                name if score == 'mIoU' else '',
                title,
                '-' if found.start is None else f'{found.start:.1f}',
                f'{found.lowest:.1f}',
                str(found.lowest_iter),
                _recovery(found),
                f'{found.last:.1f}',
                f'{found.best:.1f}',
            )
        table.add_section()
    return table


def main() -> int:
    args = parse_args()
    # mmengine 0.10.7 says so at every `mmseg::` base of a config; no user can do anything about it.
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
    started = time.monotonic()
    try:
        runs = dict(run_study(args))
    except (StageError, FileExistsError) as error:
        console.print(str(error))
        return 1
    except KeyboardInterrupt:
        console.print('Interrupted: the same command goes on with the stage that was cut short')
        return 130
    histories = {name: read_history(path / FILE_NAME) for name, path in runs.items()}
    console.print(make_table(histories))
    console.print(
        'recovered: the first validation after the lowest point at or above iteration 0; - if it never fell'
    )
    for name, history in histories.items():
        forgotten = summarise_forgetting(history)
        console.print(
            f'{name} on the drawn objects it comes from, mIoU of the shared classes: '
            f'{forgotten.start:.1f} at iteration 0, {forgotten.last:.1f} at {forgotten.last_iter}'
        )
    folder = args.work_dir / f'{"quick" if args.quick else "full"}-seed{args.seed}'
    figure = folder / 'adaptation.png'
    draw_adaptation(histories, figure, 'PASCAL-like to Cityscapes-like, on drawn data (not photographs)')
    for name, path in runs.items():
        console.print(f'Record and label maps of {name}: {path}')
    console.print(f'Figure: {figure}')
    report = folder / 'report.html'
    folders = {name: RunFolder(path, histories[name]) for name, path in runs.items()}
    page = render_page(analyse(histories), folders, notes=[f'These runs are on {DRAWN}.'])
    write_atomically(report, page.encode())
    console.print(f'All in {_clock(time.monotonic() - started)}. Report: {report}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
