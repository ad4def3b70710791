"""Search a dense CRF's parameters for a config, for tools/tune_crf.py."""

import argparse
import time
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import Progress

from ..atomic_file import write_atomically
from ..datasets.label_maps import check_headers
from ..digests import file_digest
from ..memory import keep_freed_memory
from ..models.crf_segmentors import refining_model
from ..models.dense_crf import build_dense_crf
from ..runs.config import read_config
from ..runs.header import config_digest
from ..runs.history import HistoryWriter, read_history
from ..runs.inputs import check_data_roots
from .crf_search import RANGES, Setting, Trials, coarse_trials, search, training_images
from .trained_model import load_model

PRINTED = ('mIoU', 'BIoU', 'trimap.4')
console = Console(highlight=False, markup=False, soft_wrap=True)


class Recorder:
    """Run trials and keep each on the disk; what is there is not repeated."""

    def __init__(self, trials: Trials, path: Path, header: dict, overwrite: bool) -> None:
        self.trials = trials
        self._known: dict[tuple, dict[str, float]] = {}
        self._writer = HistoryWriter(path)
        if path.exists() and not overwrite:
            found = read_history(path)
            if {key: found.header.get(key) for key in header} != header:
                raise FileExistsError(
                    f'{path} is of another search, {found.header}; give another --out, or --overwrite'
                )
            self._known = {_key(row['setting']): row['scores'] for row in found.rows}
            console.print(f'{path}: resuming after {len(self._known)} trials')
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer.start(header)

    def scores(self, setting: Setting | None) -> dict[str, float]:
        """Scores of a setting, as ``Trials.evaluate`` or an earlier search gave them."""
        if (known := self._known.get(_key(setting))) is not None:
            return known
        started = time.perf_counter()
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(_describe(setting), total=len(self.trials.paths))
            scores = dict(self.trials.evaluate(setting, lambda: progress.advance(task)))
        seconds = (time.perf_counter() - started) / len(self.trials.paths)
        self._writer.append({'setting': setting, 'scores': scores, 'seconds_per_image': seconds})
        self._known[_key(setting)] = scores
        shown = ', '.join(f'{name} {scores[name]:.2f}' for name in PRINTED if name in scores)
        console.print(f'{len(self._known) - 1:3d} {_describe(setting)}: {shown} ({seconds:.2f} s an image)')
        return scores


def _key(setting: Setting | None) -> tuple:
    return () if setting is None else tuple(sorted(setting.items()))


def _describe(setting: Setting | None) -> str:
    return 'without' if setting is None else ', '.join(f'{name} {value:g}' for name, value in setting.items())


def tune(args: argparse.Namespace) -> None:
    """Search, print each trial, and write the best setting as a config."""
    cfg = read_config(args.config, args.cfg_options)
    check_data_roots(cfg, ('train_dataloader',))
    digest_of_config = config_digest(cfg)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    refining_model(cfg)
    build_dense_crf(cfg.model.test_cfg.crf)
    model = load_model(cfg, args.checkpoint).to(args.device or get_device())
    crf, evaluators = cfg.model.test_cfg.crf, cfg.get('test_evaluator') or cfg.get('val_evaluator')
    dataset = training_images(cfg)
    check_headers(dataset)
    trials = Trials(model, dataset, args.images, crf, evaluators)
    header = {
        'config': Path(args.config).name,
        'config_digest': digest_of_config,
        'checkpoint': file_digest(Path(args.checkpoint.rpartition('://')[2]).expanduser()),
        'images': [str(Path(path).absolute()) for path in trials.paths],
        'fixed': dict(trials.fixed),
    }
    recorder = Recorder(trials, args.out / 'trials.jsonl', header, args.overwrite)
    console.print(
        f'{len(trials.paths)} images of the training split; {coarse_trials()} settings, then those around '
        'the best'
    )
    without = recorder.scores(None)
    if args.metric not in without:
        raise ValueError(f'--metric {args.metric}: these images do not have it; take more with --images')
    best, value = search(lambda setting: recorder.scores(setting)[args.metric])
    gain = value - without[args.metric]
    scores = f'{args.metric} {value:.2f} % with, {without[args.metric]:.2f} % without'
    verdict = f'{scores}, on {len(trials.paths)} images'
    if gain <= 0:
        verdict += ': no setting is better than none'
    ends = [name for name, values in RANGES.items() if best[name] in (values[0], values[-1])]
    if ends:
        console.print(f'{", ".join(ends)}: the best is at an end of the range; outside may be a better one')
    write_atomically(args.out / 'crf.py', _snippet({**trials.fixed, **best}, args, verdict).encode())
    console.print(f'Best: {_describe(best)}\n{verdict}\nWrote {args.out / "crf.py"}')


def _snippet(setting: dict[str, float], args: argparse.Namespace, verdict: str) -> str:
    comment = f'# Found by tools/tune_crf.py on the training split: {verdict}.\n'
    base = f'_base_ = {str(Path(args.config).absolute())!r}\n'
    return comment + base + Config(dict(model=dict(test_cfg=dict(crf=setting)))).pretty_text


def run(args: argparse.Namespace) -> None:
    """Search as the flags say; Ctrl-C says how to resume."""
    keep_freed_memory()
    try:
        tune(args)
    except KeyboardInterrupt:
        trials = args.out / 'trials.jsonl'
        raise KeyboardInterrupt(f'the same command resumes after the trials in {trials}') from None
