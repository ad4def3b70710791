"""Evaluate a segmentor, as MMSegmentation's tools/test.py does."""

import argparse

from _arguments import Parser, add_run_arguments, run


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__)
    add_run_arguments(parser, checkpoint=True)
    parser.add_argument('--out', help='folder for predicted label maps, for offline evaluation')
    parser.add_argument('--show', action='store_true', help='show prediction results')
    parser.add_argument('--show-dir', help='folder for painted images, one of every image')
    parser.add_argument(
        '--wait-time', type=float, default=2, help='interval of --show in seconds (default: 2)'
    )
    parser.add_argument(
        '--crf',
        action='store_true',
        help='refine predictions by a dense CRF (model.test_cfg.crf of the config, else the values of '
        "DeepLabV2); prints the scores without it, too, and puts both into the run's record",
    )
    parser.add_argument('--tta', action='store_true', help='test time augmentation')
    return parser.parse_args()


def main() -> None:
    """Build the test and run it."""
    args = parse_args()

    from mmengine.runner import Runner

    from mmseg_deeplab_study.datasets.label_maps import check_headers
    from mmseg_deeplab_study.engine.dense_crf import enable_dense_crf
    from mmseg_deeplab_study.memory import keep_freed_memory
    from mmseg_deeplab_study.runs.batches import check_shared_memory
    from mmseg_deeplab_study.runs.inputs import check_data_roots
    from mmseg_deeplab_study.runs.launch import enable_ranks, load_config
    from mmseg_deeplab_study.runs.main_process import from_main_process

    keep_freed_memory()
    cfg = load_config(args)
    if cfg.get('test_dataloader') is None:
        raise ValueError(f'config {args.config} has no test_dataloader; add it, test_cfg and test_evaluator')
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        # MMSeg's hook paints every 50th by default.
        if 'visualization' not in cfg.get('default_hooks', {}):
            raise ValueError(f'config {args.config} has no default_hooks.visualization, which paints; add it')
        cfg.default_hooks.visualization.update(
            draw=True, interval=1, show=args.show, wait_time=args.wait_time
        )
        if args.show_dir:
            cfg.visualizer.save_dir = args.show_dir
    if args.crf:
        enable_dense_crf(cfg)
    if args.tta:
        if (cfg.model.get('test_cfg') or {}).get('crf') is not None:
            raise ValueError(
                '--tta with dense CRF (--crf, or model.test_cfg.crf of the config) would refine each view '
                'by itself; give one of them'
            )
        if missing := [key for key in ('tta_pipeline', 'tta_model') if not cfg.get(key)]:
            raise ValueError(f'config {args.config} has no {missing[0]}, which --tta needs; add it')
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        if cfg.model.type == 'StudyEncoderDecoder':
            cfg.model.output = 'full'  # logits are averaged
        cfg.tta_model.module = cfg.model
        cfg.model = cfg.tta_model
    if args.out:
        # A metric that writes label maps, beside what the config evaluates.
        writer = dict(type='IoUMetric', format_only=True, output_dir=args.out)
        evaluators = cfg.test_evaluator
        cfg.test_evaluator = [*(evaluators if isinstance(evaluators, list) else [evaluators]), writer]
    check_data_roots(cfg, ('test_dataloader',))
    enable_ranks(cfg)
    runner = Runner.from_cfg(cfg)
    from_main_process(lambda: check_headers(runner.test_dataloader.dataset))
    check_shared_memory({'test_dataloader': runner.test_dataloader})
    runner.test()


if __name__ == '__main__':
    run(main)
