"""Train a segmentor, as MMSegmentation's tools/train.py does, with checks before training starts."""

import argparse

from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint

import mmseg_deeplab_study  # noqa: F401  (registers everything)
from mmseg_deeplab_study.engine.launch import (
    add_run_arguments,
    check_data_roots,
    enable_amp,
    load_config,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_run_arguments(parser)
    parser.add_argument(
        '--resume',
        action='store_true',
        help='resume from the latest checkpoint in the work_dir automatically',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train in automatic mixed precision (bfloat16 on the CPU, float16 elsewhere)',
    )
    parser.add_argument('--seed', type=int, help="random seed (default: the config's randomness)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.resume:
        # Where load_from is given, MMEngine would resume from that, the source checkpoint, and not from the
        # run's own.
        latest = find_latest_checkpoint(cfg.work_dir)
        cfg.resume = latest is not None
        cfg.load_from = latest or cfg.get('load_from')
    if args.amp:
        enable_amp(cfg)
    if args.seed is not None:
        cfg.merge_from_dict({'randomness.seed': args.seed})
    check_data_roots(cfg, ('train_dataloader', 'val_dataloader'))
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.train()


if __name__ == '__main__':
    main()
