"""From flags to a config: defaults and what is refused before anything is built."""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from mmengine.config import Config, ConfigDict

from mmseg_deeplab_study.runs import launch
from mmseg_deeplab_study.runs.launch import enable_amp, enable_ranks, load_config, prepare_work_dir


def flags(config: Path, **given: object) -> argparse.Namespace:
    """What tools/train.py hands over."""
    others = dict(work_dir=None, cfg_options=None, launcher='none', local_rank=0)
    return argparse.Namespace(config=str(config), **{**others, **given})


@pytest.fixture(autouse=True)
def no_local_rank(monkeypatch):
    # load_config sets it; monkeypatch takes that back.
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.delenv('LOCAL_RANK')


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / 'some_config.py'
    path.write_text("lr = 0.1\nmodel = dict(depth=50, strides=[1, 2])\nwork = 'x'\n")
    return path


def test_config_is_read_and_options_are_merged(config):
    cfg = load_config(flags(config, cfg_options={'lr': 0.5, 'model.strides': [1, 1]}))
    assert (cfg.lr, cfg.model, cfg.launcher) == (0.5, dict(depth=50, strides=[1, 1]), 'none')


@pytest.mark.parametrize(
    ('in_config', 'given', 'expected'),
    [
        ('', {}, 'work_dirs/some_config'),
        ("work_dir = 'of_config'\n", {}, 'of_config'),
        ("work_dir = 'of_config'\n", {'work_dir': 'of_flag'}, 'of_flag'),
        ('', {'cfg_options': {'work_dir': 'of_option'}}, 'of_option'),
        ('', {'cfg_options': {'work_dir': 'of_option'}, 'work_dir': 'of_flag'}, 'of_flag'),
    ],
)
def test_work_dir(config, in_config, given, expected):
    config.write_text(config.read_text() + in_config)
    assert load_config(flags(config, **given)).work_dir == expected


@pytest.mark.parametrize(('before', 'after'), [(None, '2'), ('5', '5')])
def test_local_rank_of_the_environment_goes_first(config, monkeypatch, before, after):
    if before is not None:
        monkeypatch.setenv('LOCAL_RANK', before)
    load_config(flags(config, local_rank=2))
    assert launch.os.environ['LOCAL_RANK'] == after


def test_missing_config(tmp_path):
    (tmp_path / 'nowhere_else.py').touch()
    mistyped = r"no such file; did you mean 'nowhere_else.py'\?"
    for path, what in ((tmp_path / 'nowhere.py', mistyped), (tmp_path, 'a folder; expected a file NAME.py')):
        with pytest.raises(FileNotFoundError, match=f'^config {path}: {what}$'):
            load_config(flags(path))


MPI_RANK = 'OMPI_COMM_WORLD_RANK'
AMP = dict(type='AmpOptimWrapper', loss_scale=512.0)


@pytest.mark.parametrize(
    ('device', 'given', 'expected'),
    [
        ('cpu', dict(type='OptimWrapper'), dict(type='BFloat16OptimWrapper')),
        ('cpu', dict(), dict(type='BFloat16OptimWrapper')),
        ('cpu', dict(AMP, dtype='float16', use_fsdp=False), dict(type='BFloat16OptimWrapper')),
        ('cuda', dict(type='OptimWrapper'), dict(type='AmpOptimWrapper', loss_scale='dynamic')),
        ('cuda', AMP, AMP),
    ],
)
def test_amp(monkeypatch, device, given, expected):
    monkeypatch.setattr(launch, 'get_device', lambda: device)
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(lr=1.0), **given)))
    enable_amp(cfg)
    assert isinstance(cfg.optim_wrapper, ConfigDict)
    assert cfg.optim_wrapper == dict(optimizer=dict(lr=1.0), **expected)


def test_amp_refuses_another_wrapper():
    cfg = Config(dict(optim_wrapper=dict(type='ApexOptimWrapper')))
    with pytest.raises(ValueError, match="--amp needs .* AmpOptimWrapper, but got 'ApexOptimWrapper'"):
        enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'ApexOptimWrapper'


@pytest.fixture
def resumable(tmp_path: Path) -> Callable[[str], tuple[Config, Path]]:
    """A function of a run's folder that leaves a checkpoint of seed 3 there; its config and that file."""

    def make(folder: str = 'work') -> tuple[Config, Path]:
        path = tmp_path / folder / 'iter_5.pth'
        path.parent.mkdir(parents=True)
        torch.save(dict(meta=dict(iter=5, seed=3), state_dict={}, optimizer={}, message_hub={}), path)
        return Config(dict(work_dir=str(path.parent), load_from='source.pth', randomness=dict(seed=0))), path

    return make


def prepare(cfg: Config, resume: bool = True, overwrite: bool = False, **seed) -> Path | None:
    return prepare_work_dir(cfg, resume=resume, overwrite=overwrite, **seed)


def test_a_resumed_run_has_the_seed_it_was_begun_with(resumable, monkeypatch):
    """And not the config's: MMEngine shuffles the data by that before it looks at the checkpoint's."""
    cfg, path = resumable()
    with pytest.raises(ValueError, match=r'--seed 5: the run in .*work was begun with seed 3; leave'):
        prepare(cfg, seed=5)
    watched = Mock(side_effect=torch.serialization.load)
    monkeypatch.setattr(torch.serialization, 'load', watched)
    for seed in (None, 3):
        assert prepare(cfg, seed=seed) == path
        assert cfg.randomness.seed == 3
    # The config that is kept with the run says where the run came from.
    assert cfg.load_from == 'source.pth' and 'resume' not in cfg
    # Tensors are left to the runner: the sums are checked, the rest is read from the file's map.
    assert [call.kwargs['mmap'] for call in watched.call_args_list] == [True] * 4


def test_overwrite_beside_resume_is_for_where_nothing_can_be_resumed(resumable):
    cfg, path = resumable()
    assert prepare(cfg, overwrite=True) == path
    path.write_bytes(b'')
    assert prepare(cfg, overwrite=True) is None
    with pytest.raises(ValueError, match='none of its 1 checkpoints can be .*the file is empty'):
        prepare(cfg)
    with pytest.raises(FileExistsError, match=r'iter_5\.pth is a checkpoint of an earlier run'):
        prepare(cfg, resume=False)


def test_a_resume_that_finds_nothing_says_that_it_starts_from_zero(tmp_path, monkeypatch):
    log = Mock()
    monkeypatch.setattr(launch, 'warn', log)
    cfg = Config(dict(work_dir=str(tmp_path / 'mistyped')))
    assert prepare(cfg) is None
    (message,) = log.call_args.args
    assert message == f'resume: nothing to resume from in {cfg.work_dir}, so the run starts from zero'


def test_resume_of_a_config_looks_into_its_own_folder(tmp_path, resumable):
    cfg, theirs = resumable('a')
    cfg.work_dir, cfg.resume = str(tmp_path / 'b'), True
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b/last_checkpoint').write_text(str(theirs))
    # With load_from, MMEngine resumes from that.
    assert prepare(cfg, resume=False) is None and cfg.resume
    cfg.load_from = None
    assert prepare(cfg, resume=False) is None and not cfg.resume
    cfg.resume = True
    mine = shutil.copy(theirs, tmp_path / 'b')
    assert prepare(cfg, resume=False) == Path(mine) and not cfg.resume


def test_checkpoints_that_are_saved_elsewhere_are_the_run_s(tmp_path, resumable):
    cfg, path = resumable('out/work')
    cfg.work_dir = str(tmp_path / 'work')
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work/last_checkpoint').write_text(str(path))
    assert prepare(cfg) is None
    cfg.default_hooks = dict(checkpoint=dict(out_dir=str(tmp_path / 'out')))
    assert prepare(cfg) == path


@pytest.mark.parametrize(
    ('launcher', 'device', 'said', 'expected'),
    [
        ('slurm', 'cuda', {}, 'torch'),
        ('slurm', 'cuda', {'sync_bn': None}, None),
        ('none', 'cuda', {}, None),
        ('slurm', 'cpu', {}, None),
    ],
)
def test_batch_norm_is_synchronised_between_accelerators_alone(monkeypatch, launcher, device, said, expected):
    monkeypatch.setattr(launch, 'get_device', lambda: device)
    cfg = Config(dict(launcher=launcher, **said))
    enable_ranks(cfg)
    assert cfg.get('sync_bn') == expected


LEAVING = """
import atexit, torch
from mmseg_deeplab_study.runs.launch import leave_ranks

class Unfinished:
    def __del__(self):
        print('finalised')

kept = Unfinished()
atexit.register(print, 'exit handler')
torch.distributed.init_process_group('gloo', init_method='file://{}', rank=0, world_size=1)
print('trained', end=', ')
leave_ranks()
print('not reached')
"""


def test_a_rank_ends_after_its_exit_handlers_without_finalisation(forked, tmp_path):
    """A thread of gloo's that frees a tensor in finalisation aborts: one run of two processes in nine."""
    script = LEAVING.format(tmp_path / 'store')
    done = forked.run('-c', script, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, 'trained, exit handler\n'), done.stderr


def test_a_single_process_goes_on(monkeypatch):
    end = Mock()
    for module, name in ((launch.atexit, '_run_exitfuncs'), (launch.os, '_exit')):
        monkeypatch.setattr(module, name, end)
    launch.leave_ranks()
    assert not end.called


@pytest.mark.parametrize(
    ('launcher', 'variable', 'starter'),
    [('pytorch', 'RANK', 'torchrun'), ('slurm', 'SLURM_PROCID', 'srun'), ('mpi', MPI_RANK, 'mpirun')],
)
def test_a_launcher_that_has_not_started_the_process(config, monkeypatch, launcher, variable, starter):
    monkeypatch.delenv(variable, raising=False)
    message = f'^--launcher {launcher}: {variable} is not set.* Start it by {starter}'
    with pytest.raises(ValueError, match=message):
        load_config(flags(config, launcher=launcher))
    monkeypatch.setenv(variable, '0')
    assert load_config(flags(config, launcher=launcher)).launcher == launcher
