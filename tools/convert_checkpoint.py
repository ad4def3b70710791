"""Convert a published DeepLab checkpoint to MMSegmentation's form, or back."""

import argparse
from pathlib import Path

from _arguments import Parser, run


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        'src',
        # Not a Path, which would drop a slash of a scheme.
        help='checkpoint of VainF, torchvision, TensorFlow Lite or MMSeg; its keys say which',
    )
    parser.add_argument('dst', type=Path, help='file to write; an existing one is never overwritten')
    parser.add_argument(
        '--to',
        choices=['mmseg', 'torchvision', 'vainf'],
        default='mmseg',
        help="form to write; a peer's from one of ours (default: mmseg)",
    )
    parser.add_argument(
        '--verify',
        action='store_true',
        help='run the checkpoint in the peer, where it is installed, and in ours, and compare the logits',
    )
    return parser.parse_args()


def main() -> int:
    """Convert, and compare with the peer where that is asked for."""
    args = parse_args()

    from io import BytesIO

    import torch

    from mmseg_deeplab_study.atomic_file import write_atomically
    from mmseg_deeplab_study.checkpoints.conversion import CONFIGS, SCHEMES, load_any, to_peer
    from mmseg_deeplab_study.checkpoints.parity import compare_with_peer

    if args.dst.exists():
        raise FileExistsError(f'{args.dst} exists; give another file, or remove it')
    scheme, _, name = args.src.rpartition('://')
    src = name if f'{scheme}://' in SCHEMES.values() else args.src
    checkpoint = load_any(src)
    meta = checkpoint['meta']
    print(f'{src}: {meta["source_format"]}, {len(checkpoint["state_dict"])} tensors')
    if args.to == 'mmseg':
        written = checkpoint
    else:
        written, layout = to_peer(checkpoint['state_dict'], args.to)
        print(f'written as {layout.peer} {layout.name}')
    if args.verify:
        print(compare_with_peer(Path(src), checkpoint))
    content = BytesIO()
    torch.save(written, content)
    write_atomically(args.dst, content.getvalue())
    print(f'{args.dst}: written')
    if args.to == 'mmseg' and (config := CONFIGS.get(meta['source_format'])):
        print(f'config that fits: configs/{config}_*.py')
    return 0


if __name__ == '__main__':
    run(main)
