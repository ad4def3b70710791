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


def test_voc_to_cityscapes_shares_exactly_six():
    matches = match_classes(VOC, CITYSCAPES)
    assert matches == SHARED
    assert list(matches) == list(SHARED)  # in the target's order


def test_cityscapes_to_voc():
    matches = match_classes(CITYSCAPES, VOC)
    assert matches == {m.source: Match(name, m.kind) for name, m in SHARED.items()}


def test_approximate_adds_rider():
    rider = Match('person', 'approximate')
    assert match_classes(VOC, CITYSCAPES, approximate=True) == {**SHARED, 'rider': rider}
    # Not where the source has no person; and an exact match goes before.
    assert match_classes(['car'], ['rider'], approximate=True) == {}
    matches = match_classes(['rider', 'person'], ['rider'], approximate=True)
    assert matches == {'rider': Match('rider', 'exact')}


def test_exact_goes_before_alias():
    assert match_classes(['pedestrian', 'person'], ['person']) == {'person': Match('person', 'exact')}
    assert match_classes(['pedestrian'], ['person']) == {'person': Match('pedestrian', 'alias')}


@pytest.mark.parametrize('group', ALIASES, ids=lambda group: '-'.join(sorted(group)))
def test_aliases_go_both_ways(group: set[str]):
    for one in group:
        for other in group - {one}:
            assert match_classes(['sky', one], [other]) == {other: Match(one, 'alias')}


def test_class_map_overrides_names():
    class_map = {'truck': 'bus', 'person': None, 'rider': 'cat', 'car': 'car'}
    matches = match_classes(VOC, CITYSCAPES, class_map, approximate=True)
    mapped = {name: Match(source, 'class_map') for name, source in class_map.items() if source}
    assert matches == {name: match for name, match in {**SHARED, **mapped}.items() if name != 'person'}


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
