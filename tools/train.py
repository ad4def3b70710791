"""Train a segmentor as MMSegmentation's tools/train.py does, after more checks."""

import argparse

from _arguments import Parser, add_run_arguments, run


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__)
    add_run_arguments(parser)
    parser.add_argument(
        '--load-from',
        metavar='CHECKPOINT',
        help="the source checkpoint, instead of the config's load_from: a path, or scheme and path such as "
        'tflite://FILE',
    )
    parser.add_argument(
        '--resume', action='store_true', help='go on from the newest checkpoint in the work_dir that loads'
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='start a new run, and delete the record in the work_dir with its checkpoints and snapshots; '
        'with --resume, only if there is nothing to resume from',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train in automatic mixed precision (bfloat16 on the CPU, float16 elsewhere)',
    )
    parser.add_argument('--seed', type=int, help="random seed (default: the config's randomness)")
    return parser.parse_args()


def main() -> None:
    """Check everything that can be checked early, then train; a finished run only says so."""
    args = parse_args()

    from mmengine.dist import is_main_process
    from mmengine.logging import print_log
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    from mmseg_deeplab_study.compat import set_up_consoles
    from mmseg_deeplab_study.datasets.label_maps import check_headers
    from mmseg_deeplab_study.engine import AdaptationHook
    from mmseg_deeplab_study.engine.ending import is_finished, nearby, say_finished
    from mmseg_deeplab_study.memory import keep_freed_memory
    from mmseg_deeplab_study.runs.batches import build_loaders, check_shared_memory
    from mmseg_deeplab_study.runs.console import ConsoleFormatter, is_shown
    from mmseg_deeplab_study.runs.inputs import TRAINING_DATA, check_data_roots, check_load_from
    from mmseg_deeplab_study.runs.launch import enable_amp, enable_ranks, load_config, prepare_work_dir
    from mmseg_deeplab_study.runs.main_process import from_main_process
    from mmseg_deeplab_study.runs.resuming import resume_from
    from mmseg_deeplab_study.runs.work_dir import clear_work_dir

    keep_freed_memory()
    set_up_consoles(is_shown, ConsoleFormatter())
    cfg = load_config(args)
    if args.load_from is not None:
        cfg.load_from = args.load_from
    if args.amp:
        enable_amp(cfg)
    if args.seed is not None:
        cfg.merge_from_dict({'randomness.seed': args.seed})
    check_data_roots(cfg, TRAINING_DATA)
    enable_ranks(cfg)  # from here on, what stops one rank stops all
    checkpoint = prepare_work_dir(cfg, args.resume, args.overwrite, args.seed)
    if checkpoint is None:
        check_load_from(cfg.get('load_from'))
    elif from_main_process(lambda: is_finished(cfg, checkpoint)):
        if is_main_process():
            for line in say_finished(cfg):
                print_log(line, logger='current')
        return
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if runner.logger.log_file:
        runner.logger.info(f'Log, with all that this leaves out: {nearby(runner.logger.log_file)}')
    if checkpoint is not None:
        # Where load_from is set, MMEngine would resume from the source checkpoint. Not set in the config,
        # which is kept with the run and says where it came from.
        resume_from(runner, checkpoint)
    tracked = [hook for hook in runner.hooks if isinstance(hook, AdaptationHook)]
    for hook in tracked:
        # Not a setting of the config, which is kept with the run and may be used again. The hook deletes
        # after all checks.
        hook.overwrite = args.overwrite
    loaders = build_loaders(runner)
    if not tracked:
        # AdaptationHook checks these itself.
        from_main_process(
            lambda: [
                check_headers(loader.dataset, name == 'train_dataloader') for name, loader in loaders.items()
            ]
        )
    check_shared_memory(loaders)
    if args.overwrite and not tracked and checkpoint is None and is_main_process():
        clear_work_dir(cfg.work_dir)
    runner.train()


if __name__ == '__main__':
    run(main)
