"""Measure this project beside stock MMSegmentation, for docs/speed.md, and its dense CRF."""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mmseg_deeplab_study  # noqa: F401  (registers everything)
from benchmarks import crf, setups, tables, training, validation
from benchmarks.measure import in_own_process, machine

SECTIONS = ('training', 'rounding', 'validation', 'memory', 'rounds', 'growth', 'adapted', 'crf')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--only',
        nargs='+',
        choices=SECTIONS,
        default=SECTIONS,
        help='sections to measure; those whose files are not given are left out',
    )
    parser.add_argument('--networks', nargs='+', choices=setups.NETWORKS, default=list(setups.NETWORKS))
    parser.add_argument('--rounds', type=int, default=5, help='timed repetitions (default: 5)')
    parser.add_argument('--steps', type=int, default=20, help='training steps (default: 20)')
    parser.add_argument('--height', type=int, default=1024, help='of the large images (default: 1024)')
    parser.add_argument('--images', type=int, default=4, help='of the large validation set (default: 4)')
    parser.add_argument('--weights', type=Path, help="deeplabv3_257_mv_gpu.tflite, for 'adapted' and 'crf'")
    parser.add_argument('--voc', type=Path, help="folder VOC2012 of a VOCdevkit, for 'crf' of dense_crf.md")
    parser.add_argument('-o', '--out', type=Path, default='docs', help='folder of the pages (default: docs)')
    results = Path('work_dirs/bench/results.json')
    parser.add_argument('--results', type=Path, default=results, help='measured numbers, section by section')
    return parser.parse_args()


def tasks(args: argparse.Namespace, streets: Path) -> Iterator[tuple[str, str, Callable[[Path], Any]]]:
    """Section, line of its table, and what measures it, given a folder for its files."""
    for network in args.networks:
        weights = args.results.with_name(f'{network}.pth')
        # A step on the study's crops takes four times as long: a quarter of them will do.
        for crop, steps, kept in ((384, args.steps, weights), (768, max(1, args.steps // 4), None)):
            task = partial(training.steps, network, streets, number=steps, crop=crop, weights=kept)
            yield 'training', f'{network}, {crop}x{crop}', task
        yield 'rounding', network, partial(training.rounding, network, streets, number=args.steps)
        for size, root in ((f'{args.height}x{2 * args.height}', streets), ('360x480', setups.camvid())):
            key, passes = f'{network}, {size}', dict(rounds=args.rounds, weights=weights)
            yield 'validation', key, partial(validation.passes, network, root, **passes)
            yield 'memory', key, partial(validation.memory, network, root)
            yield 'rounds', key, partial(training.rounds, network, root, number=3)
    yield 'growth', validation.GROWN, partial(validation.growth, rounds=args.rounds)
    if args.weights:
        yield 'adapted', 'CamVid', partial(training.real_run, args.weights.absolute())


def measure(results: Path, section: str, key: str, task: Callable[[Path], Any]) -> None:
    """Measure one thing and add it to the results at once."""
    with TemporaryDirectory() as folder:
        value = task(Path(folder))
    found = json.loads(results.read_text()) if results.exists() else {}
    found.setdefault(section, {})[key] = value
    found.setdefault('machines', {})[section] = machine()
    found['dtypes'] = setups.DTYPES
    results.write_text(json.dumps(found, indent=1))


def main() -> None:
    """Measure section by section, then write table and picture."""
    args = parse_args()
    args.results.parent.mkdir(parents=True, exist_ok=True)
    if set(args.only) - {'crf'}:
        with TemporaryDirectory() as folder:
            streets = setups.make_streets(Path(folder), args.images, args.height)
            for section, key, task in tasks(args, streets):
                if section in args.only:
                    in_own_process(measure, args.results, section, key, task)
    if 'crf' in args.only and args.voc and args.weights:
        tables.write_between_marks(args.out / 'dense_crf.md', '\n'.join(crf.lines(args)))
    if args.results.exists():
        print(tables.write(json.loads(args.results.read_text()), args.out))


if __name__ == '__main__':
    main()
