"""Keep what render.py reads of finished studies: records, counts of each photograph, label maps of a few.

python docs/findings/keep.py [work_dirs/studies]

Of runs that several studies share one is kept. Needs the data and the last checkpoints.
"""

import argparse
import gzip
import json
import shutil
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from render import COUNTS, RECORDS, SHARED

from mmseg_deeplab_study.atomic_file import write_atomically
from mmseg_deeplab_study.evaluation.metrics.adaptation_metric import ConfusionMetric
from mmseg_deeplab_study.evaluation.metrics.confusion import add_sparse
from mmseg_deeplab_study.inference.trained_model import load_model
from mmseg_deeplab_study.runs.history import FILE_NAME, read_history

STUDIES = ('real_backbones', 'real_head_transfer', 'real_learning_rates')
# Of one photograph of each first seed: what README's film strip shows.
FILMED = ('source', '000000', '000005', '000025', '000100')


def count_photographs(run: Path) -> list:
    """Pixels hit, labelled and predicted (3, C) of each validation photograph, by the run's last weights."""
    cfg = Config.fromfile(next(run.glob('deeplabv3*.py')))
    last = read_history(run).validations[-1]
    model = load_model(cfg, str(run / f'iter_{last["iter"]}.pth'))
    metric = ConfusionMetric(len(model.dataset_meta['classes']), prefix='last')
    loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
    with torch.no_grad():
        for batch in loader:
            metric.process(batch, [sample.to_dict() for sample in model.val_step(batch)])
    # The record counted the same pixels.
    assert add_sparse(metric.results, metric.shape).tolist() == last['confusion'], run
    matrices = (add_sparse([counts], metric.shape) for counts in metric.results)
    return [[m.diagonal().tolist(), m.sum(axis=1).tolist(), m.sum(axis=0).tolist()] for m in matrices]


def keep(run: Path, kept: Path) -> None:
    """Keep a run's record, of a study's first seed also the label maps of a photograph."""
    kept.mkdir(parents=True, exist_ok=True)
    content = (run / FILE_NAME).read_bytes()
    write_atomically(kept / f'{FILE_NAME}.gz', gzip.compress(content, mtime=0))
    if run.name != 'seed0' or run.parent.parent.name != STUDIES[0]:
        return
    truth = sorted((run / 'snapshots/reference').glob('*_truth.png'))[0]
    image = truth.name.replace('_truth', '')
    for folder, name in [('reference', truth.name), *((folder, image) for folder in FILMED)]:
        if (picture := run / 'snapshots' / folder / name).is_file():
            (kept / 'snapshots' / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, kept / 'snapshots' / folder / name)


def main() -> None:
    """Keep the finished runs of the studies, but for those that are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('studies', type=Path, nargs='?', default=Path('work_dirs/studies'))
    folder = parser.parse_args().studies
    if not folder.is_dir():
        parser.error(f'{folder}: no such folder. Expected the finished studies {", ".join(STUDIES)} in it')
    torch.set_num_threads(1)  # as each of --jobs 2 on two cores, to the last bit
    counts = json.loads(gzip.decompress(COUNTS.read_bytes())) if COUNTS.exists() else {}
    for study in STUDIES:
        for run in sorted(path.parent for path in (folder / study).glob(f'**/seed*/{FILE_NAME}')):
            name = run.relative_to(folder)
            new = str(name) not in counts and (run / 'iter_100.pth').exists()
            if new and SHARED.get(run.parent.name, study) == study:
                keep(run, RECORDS / name)
                counts[str(name)] = count_photographs(run)
                print(name, flush=True)  # noqa: T201
    write_atomically(COUNTS, gzip.compress(json.dumps(counts).encode(), mtime=0))


if __name__ == '__main__':
    main()
