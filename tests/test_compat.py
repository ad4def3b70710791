import contextlib
import copy
import importlib.util
import io
import logging
import math
import os
import sys
import textwrap
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from torch import nn

from mmseg_deeplab_study import compat
from mmseg_deeplab_study.checkpoints.safe_loading import TORCH
from mmseg_deeplab_study.compat import (
    MissingOpError,
    _OpsPlaceholder,
    find_bases_by_path,
    format_configs_once,
    make_mmcv_ops_importable,
    set_up_consoles,
    train_depthwise_in_planes,
)

# Only now, which is what the module under test is for.
import mmcv  # isort: skip
import mmseg  # isort: skip
from mmcv import ops  # isort: skip
from mmseg.registry import MODELS  # isort: skip
from mmseg.structures import SegDataSample  # isort: skip

REPO = Path(__file__).resolve().parents[1]
LITE = importlib.util.find_spec('mmcv._ext') is None
needs_lite = pytest.mark.skipif(not LITE, reason='full mmcv is installed')


@pytest.fixture
def run(bare_forked, tmp_path) -> Callable[..., str]:
    """A function that returns the standard output of code in a process that has not imported this package."""

    def call(code: str, *arguments: object) -> str:
        done = bare_forked.run('-c', textwrap.dedent(code), *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return call


@pytest.mark.slow
@needs_lite
def test_mmseg_imports_with_mmcv_lite_and_nothing_is_left_behind(run):
    out = run("""
        import sys
        from importlib.util import find_spec
        import mmseg_deeplab_study
        import mmcv, mmseg.models
        from mmengine.utils.dl_utils import mmcv_full_available
        from mmcv.utils.ext_loader import check_ops_exist
        print('mmcv._ext' in sys.modules, hasattr(mmcv, '_ext'), find_spec('mmcv._ext'),
              mmcv_full_available(), check_ops_exist())
    """)
    assert out.splitlines()[-1] == 'False False None False False'


@needs_lite
def test_second_call_does_nothing():
    before = sys.modules['mmcv.ops']
    assert make_mmcv_ops_importable() is False
    assert sys.modules['mmcv.ops'] is before


@needs_lite
def test_calling_a_compiled_op_names_it_and_the_cure(monkeypatch):
    monkeypatch.setattr(compat, 'distribution', lambda name, module: name)
    with pytest.raises(RuntimeError) as caught:
        ops.DeformConv2d(1, 1, 1)(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4))
    assert caught.type is MissingOpError
    for part in ("compiled op 'deform_conv_forward'", 'pip uninstall mmcv-lite', 'pip install "mmcv<2.2"'):
        assert part in str(caught.value)


@pytest.fixture
def forks(monkeypatch):
    """An environment that has the forks, of the versions that are imported."""
    versions = {'onedl-mmcv': mmcv.__version__, 'onedl-mmsegmentation': mmseg.__version__}

    def version(name: str) -> str:
        if name not in versions:
            raise compat.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(compat, 'version', version)
    return versions


def test_what_is_imported_says_the_distribution(forks):
    assert compat.distribution('mmsegmentation', 'mmseg') == 'onedl-mmsegmentation'
    assert compat.distribution('mmengine', 'mmengine') == 'mmengine'
    forks['onedl-mmsegmentation'] = '0.0.1'  # OpenMMLab's was installed over it
    assert compat.distribution('mmsegmentation', 'mmseg') == 'mmsegmentation'


def test_the_fork_s_compiled_ops(forks):
    assert 'uninstall onedl-mmcv, then MMCV_WITH_OPS=1 pip install' in str(MissingOpError('nms'))


def test_the_fork_prints_nothing_on_standard_output(forks, monkeypatch, capsys):
    def import_module(name: str) -> ModuleType:
        if name == 'mmseg.datasets':
            sys.stdout.write('Could not import OneDL\nread this\nCould not import OneDL\n')
        return sys.modules[name]

    monkeypatch.setattr(compat.importlib, 'import_module', import_module)
    compat.keep_standard_output()
    assert capsys.readouterr().out == 'read this\n'
    forks.clear()
    compat.keep_standard_output()
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('name', ['channel_conversion', '_channel_conversion'])
@pytest.mark.parametrize('swaps', [True, False])
def test_whether_channels_are_swapped(name, swaps):
    assert compat.expects_rgb(SimpleNamespace(**{name: swaps})) is swaps
    with pytest.raises(ValueError, match='of type Identity does not say .* expected a SegDataPreProcessor'):
        compat.expects_rgb(nn.Identity())


@pytest.mark.skipif(LITE, reason='mmcv has no compiled ops')
def test_a_segmentor_with_compiled_ops_learns_and_predicts():
    """StudyEncoderDecoder computes in channels-last, which the ops refuse."""
    backbone = dict(type='ResNet', depth=50, base_channels=8, stage_with_dcn=(False, True, True, True))
    backbone['dcn'] = dict(type='DCN', deform_groups=1, fallback_on_stride=False)
    head = dict(type='FCNHead', in_channels=256, in_index=3, channels=8, num_convs=1, num_classes=19)
    test_cfg = dict(mode='whole')
    config = dict(type='StudyEncoderDecoder', backbone=backbone, decode_head=head, test_cfg=test_cfg)
    model = MODELS.build(ConfigDict(config))
    images = torch.randn(2, 3, 128, 128)
    model(images).sum().backward()
    assert model.backbone.layer4[0].conv2.conv_offset.weight.grad.abs().sum() > 0
    with torch.no_grad():
        expected = model.eval()(images)
        samples = [SegDataSample(metainfo=dict(ori_shape=(128, 128), img_shape=(128, 128))) for _ in images]
        found = torch.stack([sample.seg_logits.data for sample in model.predict(images, samples)])
    expected = nn.functional.interpolate(expected, (128, 128), mode='bilinear')
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_full_mmcv_is_left_alone(run, tmp_path: Path):
    # An importable mmcv._ext, found through mmcv.__path__ as the compiled one would be.
    (tmp_path / '_ext.py').write_text(
        'def __getattr__(name):\n'
        '    if name.startswith("__"):\n'
        '        raise AttributeError(name)\n'
        '    return lambda *args, **kwargs: f"real {name}"\n'
    )
    out = run(
        """
        import sys
        import mmcv
        mmcv.__path__.insert(0, sys.argv[1])
        from mmseg_deeplab_study.compat import make_mmcv_ops_importable
        from mmengine.utils.dl_utils import mmcv_full_available
        import mmseg.models
        from mmcv.ops import get_compiler_version, nms
        print(make_mmcv_ops_importable(), mmcv_full_available(), get_compiler_version(),
              sys.modules['mmcv._ext'].__file__)
        """,
        tmp_path,
    )
    expected = f'False True real get_compiler_version {tmp_path / "_ext.py"}'
    assert out.splitlines()[-1] == expected


def test_a_placeholder_of_someone_else_is_left_alone(run):
    out = run("""
        import sys, types

        class Stub(types.ModuleType):  # its __spec__ is None: find_spec would raise
            def __getattr__(self, name):
                if name.startswith('__'):
                    raise AttributeError(name)
                return lambda: f'their {name}'

        stub = Stub('mmcv._ext')
        sys.modules['mmcv._ext'] = stub
        import mmseg_deeplab_study
        from mmcv.ops import get_compiler_version
        print(sys.modules['mmcv._ext'] is stub, get_compiler_version())
    """)
    assert out.splitlines()[-1] == 'True their get_compiler_version'


@needs_lite
def test_failure_half_way_leaves_no_placeholder_and_can_be_repeated(run):
    out = run("""
        import sys

        class Broken:
            def find_spec(self, name, path=None, target=None):
                if name == 'mmcv.ops.roi_pool':
                    raise ImportError('broken on purpose')

        broken = Broken()
        sys.meta_path.insert(0, broken)
        try:
            import mmseg_deeplab_study
        except ImportError as error:
            print(error, 'mmcv._ext' in sys.modules, 'mmcv.ops' in sys.modules)
        sys.meta_path.remove(broken)
        import mmseg_deeplab_study
        import mmcv.ops, mmseg.models
        print('mmcv._ext' in sys.modules, mmcv.ops.RoIPool.__name__)
    """)
    assert out.splitlines()[-2:] == ['broken on purpose False False', 'False RoIPool']


@pytest.mark.parametrize(
    ('absent', 'error'),
    [
        ('mmcv', 'mmcv is not installed: it comes with an extra of this package, pip install "CLONE[lite]"'),
        ('mmpretrain', 'mmpretrain is not installed: it comes with'),
        ('cv2', 'import of cv2 halted'),
    ],
)
def test_what_is_not_installed_is_named(run, absent, error):
    """An mmcv that lacks something else keeps its own error."""
    out = run(
        """
        import sys
        sys.modules[sys.argv[1]] = None  # as if it were not installed
        try:
            import mmseg_deeplab_study
        except ImportError as error:
            print(error)
        """,
        absent,
    )
    assert error in out


def test_placeholder_answers_python_as_a_module_does():
    placeholder = _OpsPlaceholder('mmcv._ext')
    assert not hasattr(placeholder, '__path__')
    assert placeholder.get_compiler_version() == placeholder.get_compiling_cuda_version() == 'n/a'


@pytest.mark.skipif(
    compat.distribution('mmengine', 'mmengine') != 'mmengine',
    reason="MMEngine's fork finds no base by itself",
)
def test_configs_are_those_of_mmengine_alone(run, tmp_path: Path):
    foreign = tmp_path / 'foreign.py'
    foreign.write_text("_base_ = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py'\n")
    ours = REPO / 'configs/deeplabv3/deeplabv3_mobilenet-v2-os16_1xb4-200_voc2cityscapes-768x768.py'
    out = run(
        """
        import sys
        REGISTERS_NOTHING = True
        from mmengine.config import Config
        from mmseg_deeplab_study import compat

        def read():
            files = [Config.fromfile(path, import_custom_modules=False) for path in sys.argv[1:]]
            return [(cfg.to_dict(), cfg.text, cfg.pretty_text) for cfg in files]

        alone = read()
        compat.find_bases_by_path()
        compat.format_configs_once()
        patched = Config._get_cfg_path
        compat.find_bases_by_path()
        print(read() == alone, read() == alone, Config._get_cfg_path is patched, len(alone[0][2]) > 5000)
        """,
        ours,
        foreign,
    )
    assert out.splitlines()[-1] == 'True True True True'


def test_no_metafile_is_read(tmp_path: Path, monkeypatch):
    assert Config._get_cfg_path.__module__ == find_bases_by_path.__module__
    monkeypatch.setattr('mmengine.config.config.get_installed_path', lambda package: pytest.fail(package))
    (tmp_path / 'a.py').write_text("_base_ = 'mmseg::_base_/default_runtime.py'\n")
    assert Config.fromfile(tmp_path / 'a.py').default_scope == 'mmseg'


@pytest.mark.parametrize(
    ('base', 'error', 'message'),
    [
        ('mmseg::deeplabv3/none.py', FileNotFoundError, r'configs/deeplabv3/none\.py" does not exist'),
        ('mmseg::deeplabv3', ValueError, 'please specify the package name and relative config path'),
        ('mmtrack::a/b.py', ModuleNotFoundError, 'mmtrack is not installed'),
        ('nobody::a/b.py', AssertionError, 'does not support to load nobody config'),
    ],
)
def test_what_is_not_there_is_mmengines_error(tmp_path: Path, base: str, error: type, message: str):
    (tmp_path / 'a.py').write_text(f'_base_ = {base!r}\n')
    with pytest.raises(error, match=message):
        Config.fromfile(tmp_path / 'a.py')


# Loading


class Code:
    def __reduce__(self):
        return os.mkdir, ('ran',)


class Getter:
    def __reduce__(self):
        return getattr, ('text', 'upper')


@pytest.fixture
def fetched(tmp_path, monkeypatch) -> Path:
    """Stands for what has been fetched from https://example.com/, in the folder that torch keeps it in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    (tmp_path / 'hub/checkpoints').mkdir(parents=True)
    return tmp_path / 'hub/checkpoints'


@pytest.fixture
def load_as_the_fork(monkeypatch) -> None:
    """A loader of ``fork://``: allows getattr, and unpickles anything where that is refused."""

    def load_from_fork(filename: str, map_location: object = None) -> object:
        content = Path(filename.partition('://')[2]).read_bytes()
        allowed = contextlib.nullcontext()
        if TORCH >= (2, 5):
            allowed = torch.serialization.safe_globals([getattr])
        try:
            with allowed:
                return torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
        except ValueError:
            return torch.load(io.BytesIO(content), map_location=map_location, weights_only=False)

    # Before ours, which takes every name.
    monkeypatch.setattr(
        CheckpointLoader, '_schemes', {'fork://': load_from_fork, **CheckpointLoader._schemes}
    )


@pytest.mark.parametrize('place', ['https://example.com/', 'fork://hub/checkpoints/', 'hub/checkpoints/'])
def test_no_loader_of_mmengine_runs_what_a_file_carries(fetched, load_as_the_fork, place):
    """From a URL, MMEngine 0.10.7 would, whatever torch."""
    weights = {'w': torch.ones(2)}
    torch.save({'model_state': {'module.w': weights['w']}, 'args': {'lr': 0.1}}, fetched / 'a.pth')
    assert (
        CheckpointLoader.load_checkpoint(f'{place}a.pth', map_location='cpu')['state_dict'].keys()
        == weights.keys()
    )

    for code, name in ((Code(), r'posix\.mkdir'), (Getter(), '.*getattr')):
        torch.save({'model_state': weights, 'extra': code}, fetched / 'b.pth')
        for load in (
            CheckpointLoader.load_checkpoint,
            lambda name: load_checkpoint(nn.Conv2d(1, 1, 1), name),
        ):
            with pytest.raises(ValueError, match=rf'/b\.pth: refused, because it carries code \({name}\)'):
                load(f'{place}b.pth')
    assert not Path('ran').exists()
    assert torch.load is torch.serialization.load


def test_what_other_threads_load_is_their_own(tmp_path, monkeypatch):
    """While one loads a checkpoint, torch.load of another does what it is asked; loads take turns."""
    monkeypatch.chdir(tmp_path)
    torch.save({'w': torch.ones(1), 'extra': Code()}, 'code.pth')
    begun, others = threading.Event(), threading.Event()
    seen = {}

    def load_slowly(filename: str, map_location: object = None) -> object:
        begun.set()
        assert others.wait(20)
        return torch.load('code.pth', weights_only=False)

    monkeypatch.setattr(CheckpointLoader, '_schemes', {'slow://': load_slowly, **CheckpointLoader._schemes})

    def load_checkpoint_slowly() -> None:
        try:
            CheckpointLoader.load_checkpoint('slow://a')
        except ValueError as error:
            seen['error'] = str(error)

    threads = [threading.Thread(target=load_checkpoint_slowly) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    torch.load('code.pth', weights_only=False)  # of a maker who is trusted
    assert Path('ran').exists()
    Path('ran').rmdir()
    others.set()
    for thread in threads:
        thread.join(20)
    assert 'it carries code (posix.mkdir)' in seen['error'] and not Path('ran').exists()
    assert torch.load is torch.serialization.load


def test_a_run_formats_its_config_once(make_tiny_cityscapes, make_config, tmp_path, monkeypatch):
    texts = []

    def pretty_text(config: Config) -> str:
        texts.append(repr(config))
        return texts[-1]

    monkeypatch.setattr(Config, 'pretty_text', property(pretty_text))
    format_configs_once()
    cfg = make_config(make_tiny_cityscapes(tmp_path), tmp_path / 'run')
    cfg.train_cfg.max_iters = 2
    cfg.default_hooks.checkpoint.interval = 1
    Runner.from_cfg(cfg).train()
    assert len(list((tmp_path / 'run').glob('*.pth'))) > 1
    assert len(texts) == 1


# bfloat16 in channels-last


@pytest.mark.parametrize(
    ('channels', 'options'),
    [
        (96, dict(kernel_size=3, padding=2, dilation=2)),
        (61, dict(kernel_size=3, padding=4, dilation=4)),
        (64, dict(kernel_size=5, padding=4, dilation=2)),
        (64, dict(kernel_size=3, padding=12, dilation=12)),
        (64, dict(kernel_size=3, padding=(1, 2), dilation=(1, 2))),
        # Right as they are.
        (64, dict(kernel_size=7, padding=3)),
        (64, dict(kernel_size=3, padding=2, dilation=2, stride=2)),
    ],
)
@pytest.mark.parametrize('copied', [False, True])
def test_depthwise_convolutions_learn_in_bfloat16(channels, options, copied):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(channels, channels, groups=channels, bias=False, **options))
    model.to(memory_format=torch.channels_last)
    train_depthwise_in_planes(model)
    model.load_state_dict(copy.deepcopy(model.state_dict()))
    model = copy.deepcopy(model) if copied else model
    # As wide as the fault wants it, 25 and more.
    images = torch.randn(2, channels, 9, 40).contiguous(memory_format=torch.channels_last).requires_grad_()
    exact = copy.deepcopy(model).double()
    output = exact(images.double())
    weight = torch.randn_like(output)
    wanted = torch.autograd.grad((output * weight).sum(), [exact[0].weight, images])
    # What it reads of memory that nobody has written.
    junk = [torch.full((1 << 16,), math.nan) for _ in range(40)]
    del junk
    with torch.autocast('cpu', torch.bfloat16):
        output = model(images)
    assert output.dtype is torch.bfloat16
    found = torch.autograd.grad((output.double() * weight).sum(), [model[0].weight, images])
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).norm() < 0.02 * other.norm()


def test_float32_and_evaluation_stay_in_channels_last():
    conv = torch.nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8).to(memory_format=torch.channels_last)
    train_depthwise_in_planes(conv)
    images = torch.randn(1, 8, 9, 9).contiguous(memory_format=torch.channels_last)
    assert conv(images).is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        assert conv(images).is_contiguous(memory_format=torch.channels_last)


def test_consoles_are_filtered_and_formatted_and_log_files_are_not(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())
    monkeypatch.setattr(MMLogger, '__init__', MMLogger.__init__)
    earlier = MMLogger.get_instance('earlier')
    for _ in range(2):  # the second does nothing
        set_up_consoles(lambda record: record.msg != 'noise', logging.Formatter('> %(message)s'))
    later = MMLogger.get_instance('later', log_file=str(tmp_path / 'log'))
    for logger in (earlier, later):
        logger.info('noise')
        logger.info('a line')
    assert capsys.readouterr().out == '> a line\n> a line\n'
    assert [line.split(' - ')[-1] for line in (tmp_path / 'log').read_text().splitlines()] == [
        'noise',
        'a line',
    ]
