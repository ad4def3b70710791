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


def test_label_spaces_are_those_of_mmsegs_datasets():
    assert PascalVOCDataset.METAINFO['classes'] == VOC
    assert CityscapesDataset.METAINFO['classes'] == CITYSCAPES


def test_voc_to_cityscapes_shares_exactly_six():
    matches = match_classes(VOC, CITYSCAPES)
    assert matches == SHARED
    assert list(matches) == list(SHARED)  # in the target's order


def test_cityscapes_to_voc():
    matches = match_classes(CITYSCAPES, VOC)
    assert matches == {m.source: Match(name, m.kind) for name, m in SHARED.items()}


def test_approximate_adds_rider():
    assert match_classes(VOC, CITYSCAPES, approximate=True) == {
        **SHARED,
        'rider': Match('person', 'approximate'),
    }
    # Not where the source has no person; and an exact match goes before.
    assert match_classes(['car'], ['rider'], approximate=True) == {}
    assert match_classes(['rider', 'person'], ['rider'], approximate=True) == {
        'rider': Match('rider', 'exact')
    }


def test_exact_goes_before_alias():
    assert match_classes(['pedestrian', 'person'], ['person']) == {'person': Match('person', 'exact')}
    assert match_classes(['pedestrian'], ['person']) == {'person': Match('pedestrian', 'alias')}


@pytest.mark.parametrize('group', ALIASES, ids=lambda group: '-'.join(sorted(group)))
def test_aliases_go_both_ways(group: set[str]):
    for one in group:
        for other in group - {one}:
            assert match_classes(['sky', one], [other]) == {other: Match(one, 'alias')}


def test_class_map_overrides_names():
    matches = match_classes(
        VOC, CITYSCAPES, {'truck': 'bus', 'person': None, 'rider': 'cat', 'car': 'car'}, True
    )
    expected = {
        **SHARED,
        'truck': Match('bus', 'class_map'),
        'rider': Match('cat', 'class_map'),
        'car': Match('car', 'class_map'),
    }
    del expected['person']
    assert matches == expected


@pytest.mark.parametrize(
    ('class_map', 'message'),
    [
        (
            {'motorbike': 'motorbike'},
            "class_map target: unknown class 'motorbike'; did you mean 'motorcycle'",
        ),
        (
            {'motorcycle': 'motorcycle'},
            "class_map source: unknown class 'motorcycle'; did you mean 'motorbike'",
        ),
        ({'xyz': None}, r"class_map target: unknown class 'xyz' Known: road, sidewalk, .*, bicycle$"),
    ],
)
def test_class_map_with_unknown_names(class_map: dict, message: str):
    with pytest.raises(ValueError, match=message):
        match_classes(VOC, CITYSCAPES, class_map)


@pytest.mark.parametrize('name', sorted(name for names in dataset_aliases.values() for name in names))
def test_every_label_space_known_to_mmseg_resolves(name: str):
    classes = resolve_classes(name)
    assert len(classes) > 1
    assert all(isinstance(c, str) for c in classes)
    # Each finds itself, whatever the names.
    assert match_classes(classes, classes) == {c: Match(c, 'exact') for c in classes}


def test_class_list_is_taken_as_it_is():
    assert resolve_classes(['car', 'sky']) == ('car', 'sky')


def test_unknown_label_space():
    with pytest.raises(
        ValueError, match=r"unknown label space 'city': give a list .* one of \[.*'cityscapes'.*'voc'"
    ):
        resolve_classes('city')


def test_duplicate_classes():
    with pytest.raises(
        ValueError, match=r"label space: \['car', 'sky'\] are named more than once; name each class once"
    ):
        resolve_classes(['sky', 'car', 'road', 'car', 'sky'])


def test_a_class_that_is_given_the_background_is_not_seen():
    class_map = {'road': 'background', 'truck': 'bus', 'train': None}
    source = ('background', 'bus', 'train', 'person')
    matches = match_classes(
        source, ('background', 'road', 'truck', 'train', 'rider'), class_map, approximate=True
    )
    assert list(seen_matches(matches)) == ['background', 'truck', 'rider']
