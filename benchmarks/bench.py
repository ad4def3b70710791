"""Measure this project beside stock MMSegmentation, for docs/speed.md, and its dense CRF."""

import argparse
import json
import tempfile
from pathlib import Path

import torch

import mmseg_deeplab_study  # noqa: F401  (registers everything)
from benchmarks import adapted, crf, growth, rounds, setups, tables, training, validation
from benchmarks.measure import in_own_process, machine

# What a section is measured on besides the large images: CamVid's own, or crops of the study's size.
SIZES = {
    'training': ['large', 'large crops'],
    'validation': ['large', 'camvid'],
    'memory': ['large', 'camvid'],
    'rounds': ['large', 'camvid'],
}
PER_NETWORK = ('training', 'rounding', 'validation', 'memory', 'rounds')
SECTIONS = (*PER_NETWORK, 'growth', 'adapted', 'crf')


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


def main() -> None:
    """Measure section by section, then write table and picture."""
    args = parse_args()
    path = args.results
    path.parent.mkdir(parents=True, exist_ok=True)
    for section in args.only:
        if section == 'crf' or (section == 'adapted' and args.weights is None):
            continue
        for network in args.networks if section in PER_NETWORK else [growth.NETWORK]:
            for size in SIZES.get(section, ['large']):
                in_own_process(measure, args, section, network, size)
    if 'crf' in args.only and args.voc and args.weights:
        tables.write_between_marks(args.out / 'dense_crf.md', '\n'.join(crf.lines(args)))
    if path.exists():
        print(tables.write(json.loads(path.read_text()), args.out))


def measure(args: argparse.Namespace, section: str, network: str, size: str) -> None:
    """Measure one thing and add it to the results at once."""
    path = args.results
    weights = path.with_name(f'{network}.pth')
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name), setups.camvid()
        if size != 'camvid' and section not in ('growth', 'adapted'):
            root = setups.make_streets(folder, args.images, args.height)
        key = network
        if 'camvid' in SIZES.get(section, []):
            key += ', ' + (f'{args.height}x{2 * args.height}' if size == 'large' else '360x480')
        if section == 'training':
            # A step on the study's crops takes four times as long: a quarter of them will do.
            crop, steps = (384, args.steps) if size == 'large' else (768, max(1, args.steps // 4))
            key += f', {crop}x{crop}'
            value = training.measure(network, root, folder, steps, crop)
            trained = value.pop('weights')
            if size == 'large':
                torch.save(trained, weights)
        elif section == 'rounding':
            value = training.rounding(network, root, folder, args.steps)
        elif section == 'validation':
            trained = torch.load(weights, weights_only=True) if weights.exists() else None
            value = validation.measure(network, root, folder, args.rounds, trained)
        elif section == 'memory':
            value = validation.memory(network, root, folder)
        elif section == 'rounds':
            value = rounds.measure(network, root, folder, 3)
        elif section == 'growth':
            value = growth.measure(folder, args.rounds)
        else:
            key, value = 'CamVid', adapted.measure(str(args.weights.absolute()), folder)
    results = json.loads(path.read_text()) if path.exists() else {}
    results.setdefault(section, {})[key] = value
    results.setdefault('machines', {})[section] = machine()
    results['dtypes'] = setups.DTYPES
    path.write_text(json.dumps(results, indent=1))


if __name__ == '__main__':
    main()
