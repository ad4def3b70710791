"""tools/report.py: what it writes, and what it says of runs that it cannot show."""

from pathlib import Path

import numpy as np

from mmseg_deeplab_study.runs.history import FILE_NAME, HistoryWriter, make_row, read_history


def write_record(folder: Path, scores: dict[int, float | None], max_iters: int = 10) -> Path:
    writer = HistoryWriter(folder / FILE_NAME)
    writer.start({'target_classes': ['road'], 'seen_classes': [], 'max_iters': max_iters})
    for iteration, score in scores.items():
        writer.append(row(iteration, score))
    return folder


def row(iteration: int, score: float | None) -> dict:
    means = dict.fromkeys(('mIoU', 'aAcc', 'mAcc'), score) | {'mIoU.seen': None, 'mIoU.unseen': score}
    scores = {**means, 'class_iou': {'road': score}}
    return make_row(iteration, 'validation', 'full', scores, np.array([[5]]), 1, 0.1)


def test_page_and_figures(run_tool, tmp_path):
    folder, out = write_record(tmp_path / 'run', {0: 5.0, 10: 20.0}), tmp_path / 'new' / 'page.html'
    code, output, errors = run_tool('report', folder, '-o', out, '--figures', tmp_path / 'figures')
    assert (code, errors) == (0, '')
    assert output.startswith(f'Wrote {out} (')
    assert out.read_text().startswith('<!DOCTYPE html>')
    written = [Path(line.removeprefix('Wrote ')) for line in output.splitlines()[1:]]
    assert tmp_path / 'figures/series.csv' in written
    assert all(path.stat().st_size > 0 for path in written)


def test_without_a_place_the_page_is_beside_the_runs(run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [write_record(tmp_path / 'study' / name, {0: 5.0}) for name in ('a/seed0', 'b/seed0')]
    for given, out in (([folders[0] / FILE_NAME], folders[0]), (folders, tmp_path / 'study')):
        code, output, _ = run_tool('report', *given)
        assert code == 0 and output.startswith(f'Wrote {out / "report.html"} (')
        assert (out / 'report.html').is_file()
    assert [path.name for path in tmp_path.iterdir()] == ['study']


def test_a_run_without_a_validation_is_left_out_and_named(run_tool, tmp_path):
    folders = [write_record(tmp_path / 'a', {0: 5.0}), write_record(tmp_path / 'b', {})]
    code, output, errors = run_tool('report', *folders, '-o', tmp_path / 'page.html')
    assert code == 0 and (tmp_path / 'page.html').exists()
    assert errors == 'warning: b has no validation with an mIoU yet and is left out\n'


def test_watch_follows_a_run_to_its_end(run_tool, tmp_path, monkeypatch):
    """Each pause is a moment at which the run goes on: it begins, validates at 0, is cut off, ends."""
    folder, out = tmp_path / 'run', tmp_path / 'page.html'
    moments = iter(
        [
            lambda: write_record(folder, {}),
            lambda: HistoryWriter(folder / FILE_NAME).append(row(0, 5.0)),
            lambda: None,
            lambda: HistoryWriter(folder / FILE_NAME).append(row(10, 20.0)),
        ]
    )
    pauses = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        next(moments)()

    monkeypatch.setattr('time.sleep', sleep)
    code, output, errors = run_tool('report', folder, '-o', out, '--watch', '--watch-interval', '3')
    assert code == 0 and pauses == [3.0] * 4
    assert output.count(f'Wrote {out}') == 2
    assert errors.count('waiting: ') == 2
    assert errors.count('watching run to the end; Ctrl-C stops') == 1
    assert 'iteration 10' in out.read_text()
    assert len(read_history(folder).rows) == 2
