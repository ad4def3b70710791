"""What is refused for its data or its checkpoint before anything is built."""

import pytest
from mmengine.config import Config

from mmseg_deeplab_study.runs.inputs import check_data_roots, check_load_from

NOWHERE = dict(data_root='nowhere')
NESTED = {
    'data_root': NOWHERE,
    'dataset.data_root': dict(type='NamedSubset', dataset=NOWHERE),
    'datasets.1.dataset.data_root': dict(
        type='ConcatDataset', datasets=[dict(data_root='.'), dict(dataset=NOWHERE)]
    ),
}


@pytest.mark.parametrize('key', NESTED)
def test_missing_data_root_says_key_folder_and_cure(tmp_path, key, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = Config(dict(train_dataloader=dict(dataset=NESTED[key])))
    key = f'train_dataloader.dataset.{key}'
    with pytest.raises(FileNotFoundError) as caught:
        check_data_roots(cfg)
    message = str(caught.value)
    assert message.startswith(f"{key}: the folder 'nowhere' does not exist (seen from {tmp_path})")
    assert f'--cfg-options {key}=DIR' in message
    # The cure that the message names works, lists included.
    cfg.merge_from_dict({key: str(tmp_path)})
    check_data_roots(cfg)


def test_only_the_parts_asked_for_are_checked(tmp_path):
    cfg = Config(dict(train_dataloader=dict(dataset=dict(data_root='nowhere')), val_dataloader=None))
    check_data_roots(cfg, ('val_dataloader', 'test_dataloader'))
    with pytest.raises(FileNotFoundError, match='train_dataloader'):
        check_data_roots(cfg, ('val_dataloader', 'train_dataloader'))
    # A file is no data root.
    cfg.train_dataloader.dataset.data_root = __file__
    with pytest.raises(FileNotFoundError, match='test_inputs.py'):
        check_data_roots(cfg)


def test_a_list_of_images_that_is_not_there(tmp_path):
    dataset = dict(data_root=str(tmp_path), ann_file='ImageSets/Segmentation/aug.txt')
    cfg = Config(dict(train_dataloader=dict(dataset=dict(datasets=[dict(dataset, ann_file=''), dataset]))))
    message = (
        rf"^train_dataloader\.dataset\.datasets\.1\.ann_file: '{tmp_path}' has no "
        r"'ImageSets/Segmentation/aug\.txt', the list of images; tools/doctor\.py --data-root"
    )
    with pytest.raises(FileNotFoundError, match=message):
        check_data_roots(cfg)
    (tmp_path / 'ImageSets/Segmentation').mkdir(parents=True)
    (tmp_path / 'ImageSets/Segmentation/aug.txt').touch()
    check_data_roots(cfg)


@pytest.mark.parametrize(
    ('load_from', 'error', 'message'),
    [
        (
            'no/such.pth',
            FileNotFoundError,
            'no/such.pth: no such file .* give it with --load-from CHECKPOINT',
        ),
        ('vainf://no/such.pth', FileNotFoundError, 'vainf://no/such.pth: no such file .* with --load-from'),
        ('~nobody_of_that_name/a.pth', FileNotFoundError, '~nobody_of_that_name/a.pth: no such file'),
        ('/', FileNotFoundError, '/: a folder .*expected a checkpoint'),
        (['a', 'b.pth'], ValueError, r"\['a', 'b.pth'\]: expected a path as text, .* of type list;"),
        (2026, ValueError, '2026: expected a path as text, .* of type int; give it with --load-from'),
        ('tfseg://a.pth', ValueError, 'tfseg://a.pth: no reader is called tfseg://; expected .*tvseg://'),
    ],
)
def test_a_source_checkpoint_that_cannot_be_read(load_from, error, message):
    with pytest.raises(error, match=f'^load_from={message}'):
        check_load_from(load_from)


def test_a_source_checkpoint_that_may_be_read():
    for load_from in (None, 'https://example.org/x.pth', 'torchvision://resnet50', 'open-mmlab://x'):
        check_load_from(load_from)
    with pytest.raises(ValueError, match='^load_from is empty; expected a checkpoint, give it with --load-f'):
        check_load_from('')


def test_a_forgotten_scheme(tmp_path):
    path = tmp_path / 'x.tflite'
    path.touch()
    check_load_from(f'tflite://{path}')
    message = f'needs its reader named, --cfg-options options.load_from=tflite://{path}'
    with pytest.raises(ValueError, match=message):
        check_load_from(str(path), '--cfg-options options.load_from=')


def loader(root, split: str = 'val', **options) -> Config:
    prefix = dict(img_path=f'leftImg8bit/{split}', seg_map_path=f'gtFine/{split}')
    options |= dict(_scope_='mmseg')  # of a base that is read by its package
    dataset = dict(type='CityscapesDataset', data_root=str(root), data_prefix=prefix, **options)
    return Config(dict(val_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset))))


def test_a_folder_that_is_not_there(tiny_cityscapes):
    root = tiny_cityscapes()
    check_data_roots(loader(root))
    key = 'val_dataloader.dataset.dataset.data_prefix.img_path'
    message = f"^{key}: '{root}' has no folder 'leftImg8bit/test', .*--cfg-options options.{key}=FOLDER"
    with pytest.raises(FileNotFoundError, match=message):
        check_data_roots(loader(root, 'test'), option_prefix='options.')
    with pytest.raises(FileNotFoundError, match=f'or set {key}=FOLDER in the config'):
        check_data_roots(loader(root, 'test'), option_prefix=None)


def test_no_photograph_of_the_suffix(tiny_cityscapes):
    root = tiny_cityscapes()
    for path in (root / 'leftImg8bit/val').rglob('*.png'):
        path.rename(path.with_suffix('.jpg'))
    key = 'val_dataloader.dataset.dataset'
    message = (
        rf'^{key}: {root}/leftImg8bit/val: no photograph whose name ends in _leftImg8bit.png; 3 other files '
        rf'are there, such as tiny_000000_leftImg8bit.jpg; put .* --cfg-options {key}.img_suffix=SUFFIX'
    )
    with pytest.raises(ValueError, match=message):
        check_data_roots(loader(root))
    # The cure that the message names.
    check_data_roots(loader(root, img_suffix='_leftImg8bit.jpg'))
    for path in (root / 'leftImg8bit/val').rglob('*.jpg'):
        path.unlink()
    with pytest.raises(ValueError, match='it has no files; put .* --cfg-options .*img_path=FOLDER'):
        check_data_roots(loader(root))


def test_an_empty_list(shared, tmp_path):
    root = shared / 'data/voc_samples/VOCdevkit/VOC2012'
    prefix = dict(img_path='JPEGImages', seg_map_path='SegmentationClass')
    listed = tmp_path / 'list.txt'
    dataset = dict(type='PascalVOCDataset', data_root=str(root), data_prefix=prefix, ann_file=str(listed))
    cfg = Config(dict(val_dataloader=dict(dataset=dataset)))
    listed.write_text('sample_000001\n')
    check_data_roots(cfg)
    listed.write_text('')
    with pytest.raises(ValueError, match=f'ann_file: {listed} names no photograph; complete the list'):
        check_data_roots(cfg)


def test_data_of_a_hook_and_of_other_kinds_of_dataset(tiny_cityscapes, tmp_path):
    forgetting = loader(tiny_cityscapes(), 'test').val_dataloader
    hook = dict(type='AdaptationHook', forgetting=dict(dataloader=forgetting))
    with pytest.raises(FileNotFoundError, match=r"^custom_hooks.0.forgetting.*'leftImg8bit/test'"):
        check_data_roots(Config(dict(custom_hooks=[hook])))
    for kind in ('NoSuchDataset', 'ConcatDataset'):
        check_data_roots(Config(dict(val_dataloader=dict(dataset=dict(type=kind, data_root=str(tmp_path))))))


def test_what_is_public_is_said_to_be_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='CHECKPOINT; tools/download.py mobilenet_v2 fetches it$'):
        check_load_from('tflite://checkpoints/mobilenet_v2_1.0_224_quant.tflite')
    with pytest.raises(FileNotFoundError, match='are from; tools/download.py camvid fetches it$'):
        check_data_roots(loader('data/camvid_cityscapes'))


@pytest.mark.parametrize(
    ('root', 'cure'),
    [
        ("'nowhere'", '=DIR; docs/data.md says'),
        ("'{{$MY_ROOT:nowhere}}'", '=DIR, or set MY_ROOT; docs/data.md'),
    ],
)
def test_a_variable_is_named_where_the_config_has_one(tmp_path, root, cure):
    path = tmp_path / 'config.py'
    path.write_text(f'train_dataloader = dict(dataset=dict(data_root={root}))\n')
    with pytest.raises(FileNotFoundError, match=f'the folder .nowhere. does not exist .*{cure}'):
        check_data_roots(Config.fromfile(path))


@pytest.mark.parametrize(
    'dataset',
    [
        dict(data_root='~'),
        dict(data_root=None, img='x'),
        # not on a disk
        dict(data_root='s3://bucket/data'),
        dict(data_root='nowhere', backend_args=dict(backend='petrel')),
    ],
)
def test_data_that_are_there_or_are_not_looked_for(dataset):
    check_data_roots(Config(dict(train_dataloader=dict(dataset=dataset))))


def test_a_transform_that_is_no_dict_is_left_to_be_built(tmp_path):
    dataset = dict(data_root=str(tmp_path), pipeline=['LoadImageFromFile'])
    check_data_roots(Config(dict(train_dataloader=dict(dataset=dataset))))
