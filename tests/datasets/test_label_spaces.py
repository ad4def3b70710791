from itertools import chain

import pytest
from mmseg.datasets import CityscapesDataset, PascalVOCDataset
from mmseg.utils import dataset_aliases

from mmseg_deeplab_study.datasets.label_spaces import (
    ALIASES,
    Match,
    match_classes,
    resolve_classes,
    seen_matches,
)

VOC = resolve_classes('voc')
CITYSCAPES = resolve_classes('cityscapes')
SHARED = {
    'person': Match('person', 'exact'),
    'car': Match('car', 'exact'),
    'bus': Match('bus', 'exact'),
    'train': Match('train', 'exact'),
    'motorcycle': Match('motorbike', 'alias'),
    'bicycle': Match('bicycle', 'exact'),
}


NEAR = dict(approximate=True)
CLASS_MAP = {'truck': 'bus', 'person': None, 'rider': 'cat', 'car': 'car'}
MAPPED = SHARED | {name: Match(source, 'class_map') for name, source in CLASS_MAP.items()}
MAPPED.pop('person')


@pytest.mark.parametrize(
    ('source', 'target', 'options', 'expected'),
    [
        (VOC, CITYSCAPES, {}, SHARED),
        (CITYSCAPES, VOC, {}, {m.source: Match(name, m.kind) for name, m in SHARED.items()}),
        (VOC, CITYSCAPES, NEAR, {**SHARED, 'rider': Match('person', 'approximate')}),
        # Not where the source has no person; and an exact match goes before, as before an alias.
        (['car'], ['rider'], NEAR, {}),
        (['rider', 'person'], ['rider'], NEAR, {'rider': Match('rider', 'exact')}),
        (['pedestrian', 'person'], ['person'], {}, {'person': Match('person', 'exact')}),
        (['pedestrian'], ['person'], {}, {'person': Match('pedestrian', 'alias')}),
        (VOC, CITYSCAPES, dict(class_map=CLASS_MAP) | NEAR, MAPPED),
    ],
)
def test_matches(source, target, options, expected):
    matches = match_classes(source, target, **options)
    assert matches == expected
    assert list(matches) == [name for name in target if name in matches]


@pytest.mark.parametrize('group', ALIASES, ids=lambda group: '-'.join(sorted(group)))
def test_aliases_go_both_ways(group: set[str]):
    for one in group:
        for other in group - {one}:
            assert match_classes(['sky', one], [other]) == {other: Match(one, 'alias')}


@pytest.mark.parametrize(
    ('class_map', 'message'),
    [
        ({'motorbike': 'motorbike'}, "target: unknown class 'motorbike'; did you mean 'motorcycle'"),
        ({'motorcycle': 'motorcycle'}, "source: unknown class 'motorcycle'; did you mean 'motorbike'"),
        ({'xyz': None}, r"target: unknown class 'xyz' Known: road, sidewalk, .*, bicycle$"),
        ('rider:person', "must be a dict .*, but got 'rider:person'"),
    ],
)
def test_what_is_no_class_map(class_map, message: str):
    with pytest.raises(ValueError, match=f'^class_map {message}'):
        match_classes(VOC, CITYSCAPES, class_map)


@pytest.mark.parametrize(
    ('space', 'message'),
    [
        ('city', "unknown label space 'city': give a list .* 'cityscapes'.*'voc'"),
        ('cityscape', "unknown label space 'cityscape'; did you mean 'cityscapes'\\? give a list"),
        (21, "a label space is a dataset's name, such as 'voc', or a list of class names, but got 21"),
        ([1, 2], r'a label space is .*, but got \[1, 2\]'),
        (['b', 'a', 'c', 'a', 'b'], r"label space: \['a', 'b'\] are named more than once; name each class"),
    ],
)
def test_what_is_no_label_space(space, message):
    with pytest.raises(ValueError, match=f'^{message}'):
        resolve_classes(space)


def test_every_label_space_known_to_mmseg_resolves():
    assert PascalVOCDataset.METAINFO['classes'] == VOC
    assert CityscapesDataset.METAINFO['classes'] == CITYSCAPES
    assert resolve_classes(['car', 'sky']) == ('car', 'sky')
    for classes in map(resolve_classes, chain(*dataset_aliases.values())):
        assert len(classes) > 1 and all(isinstance(name, str) for name in classes)
        # Each class finds itself.
        assert match_classes(classes, classes) == {name: Match(name, 'exact') for name in classes}


def test_a_class_that_is_given_the_background_is_not_seen():
    class_map = {'road': 'background', 'truck': 'bus', 'train': None}
    source = ('background', 'bus', 'train', 'person')
    matches = match_classes(
        source, ('background', 'road', 'truck', 'train', 'rider'), class_map, approximate=True
    )
    assert list(seen_matches(matches)) == ['background', 'truck', 'rider']
