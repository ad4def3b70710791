"""Measure this project against stock MMSegmentation, side by side, and write the table of docs/speed.md."""

import argparse
import json
import tempfile
from pathlib import Path

import mmseg_deeplab_study  # noqa: F401  (registers everything)
from benchmarks import adapted, growth, rounds, setups, tables, training, validation
from benchmarks.measure import machine

SECTIONS = ('training', 'validation', 'memory', 'rounds', 'growth', 'adapted')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', nargs='+', choices=SECTIONS, default=SECTIONS, help='sections to measure')
    parser.add_argument('--networks', nargs='+', choices=setups.NETWORKS, default=list(setups.NETWORKS))
    parser.add_argument('--rounds', type=int, default=5, help='timed repetitions (default: 5)')
    parser.add_argument('--steps', type=int, default=20, help='training steps (default: 20)')
    parser.add_argument('--height', type=int, default=1024, help='of the large images (default: 1024)')
    parser.add_argument('--images', type=int, default=4, help='of the large validation set (default: 4)')
    parser.add_argument(
        '--weights',
        help="TensorFlow's deeplabv3_257_mv_gpu.tflite, for the section 'adapted' (left out without)",
    )
    parser.add_argument('-o', '--out', default='docs', help='folder of the table and picture (default: docs)')
    parser.add_argument(
        '--results', default='work_dirs/bench/results.json', help='measured numbers, section by section'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    path = Path(args.results)
    path.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(path.read_text()) if path.exists() else {}

    def keep(section: str, key: str, value: object) -> None:
        # At once: what is measured survives a section that fails.
        results.setdefault(section, {})[key] = value
        results.setdefault('machines', {})[section] = machine()
        path.write_text(json.dumps(results, indent=1))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        big, small = f'{args.height}x{2 * args.height}', '360x480'
        large = setups.make_streets(folder, args.images, args.height)
        for network in args.networks:
            weights = None
            if 'training' in args.only:
                measured = training.measure(network, large, folder, args.steps)
                weights = measured.pop('weights')
                keep('training', network, measured)
                keep('rounding', network, training.rounding(network, large, folder, args.steps))
            if 'validation' in args.only:
                measured = validation.measure(network, large, folder, args.rounds, weights)
                keep('validation', f'{network}, {big}', measured)
                measured = validation.measure(network, setups.camvid(), folder, args.rounds, weights)
                keep('validation', f'{network}, {small}', measured)
            if 'memory' in args.only:
                keep('memory', f'{network}, {big}', validation.memory(network, large, folder))
                keep('memory', f'{network}, {small}', validation.memory(network, setups.camvid(), folder))
            if 'rounds' in args.only:
                keep('rounds', f'{network}, {big}', rounds.measure(network, large, folder, 3))
                keep('rounds', f'{network}, {small}', rounds.measure(network, setups.camvid(), folder, 3))
        if 'growth' in args.only:
            keep('growth', growth.NETWORK, growth.measure(folder, args.rounds))
        if 'adapted' in args.only and args.weights:
            keep('adapted', 'CamVid', adapted.measure(str(Path(args.weights).absolute()), folder))
    print(tables.write(results, Path(args.out)))


if __name__ == '__main__':
    main()
