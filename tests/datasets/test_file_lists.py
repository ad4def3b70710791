"""The files of a folder beside those that MMEngine lists."""

from pathlib import Path

import pytest
from mmengine import fileio

from mmseg_deeplab_study.datasets.file_lists import list_files

NAMES = (
    *(f'city/{name}' for name in ('b.png', 'a.png', '._a.png', '.hidden.png', 'c.PNG', 'd.jpg', '.png')),
    *('.folder/in_hidden.png', 'folder.png/inside.png', 'deep/er/x.png', 'top.png'),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What macOS, editors and links make of a data root."""
    root, elsewhere = tmp_path / 'root', tmp_path / 'elsewhere'
    linked = [elsewhere / name for name in ('linked.png', '._linked.png', 'in/side.png')]
    for path in (*(root / name for name in NAMES), *linked):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / 'city_link').symlink_to(elsewhere)
    (root / 'file_link.png').symlink_to(elsewhere / 'linked.png')
    (root / 'link_to_nothing.png').symlink_to(elsewhere / 'gone.png')
    return root


@pytest.mark.parametrize('recursive', [True, False])
@pytest.mark.parametrize('suffix', ['.png', ('.png', '.jpg'), 'a.png'])
def test_the_same_as_mmengine(folder: Path, suffix: str | tuple[str, ...], recursive: bool):
    theirs = fileio.list_dir_or_file(folder, list_dir=False, suffix=suffix, recursive=recursive)
    expected = sorted(folder / name for name in theirs)
    assert list_files(folder, suffix, recursive) == expected


def test_no_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        list_files(tmp_path / 'absent')
    (tmp_path / 'file').touch()
    with pytest.raises(NotADirectoryError):
        list_files(tmp_path / 'file')
