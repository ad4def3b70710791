"""What a config that cannot be read is told."""

import pytest

from mmseg_deeplab_study.runs.config import read_file


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a = 1\nb = dict(c=(1,)\n', r", line 2: '\(' was never closed"),
        ('a = 1\nb = MAX\n', ", line 2: name 'MAX' is not defined"),
        ("_base_ = 'nowhere.py'\n", ', in .*/nowhere.py: .*No such file or directory.*'),
        (
            "custom_imports = dict(imports=['no_such_plugin'])\n",
            ': Failed to import no_such_plugin; set PYTHONPATH to the folder of your module',
        ),
    ],
)
def test_a_config_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / 'mine.py'
    path.write_text(text)
    with pytest.raises(ValueError, match=f'^study {path}{message}$'):
        read_file(path, 'study')


def test_the_line_of_an_inherited_config(tmp_path):
    (tmp_path / 'base.py').write_text('a = 1\n\nb = a.c\n')
    (tmp_path / 'mine.py').write_text("_base_ = 'base.py'\n")
    message = r"mine.py, in .*base.py, line 3: 'int' object has no attribute 'c'$"
    with pytest.raises(ValueError, match=message):
        read_file(tmp_path / 'mine.py')


def test_what_is_no_config(tmp_path):
    (tmp_path / 'a.txt').touch()
    with pytest.raises(ValueError, match='^config .*a.txt: Only py/'):
        read_file(tmp_path / 'a.txt')
