"""Lines of JSON that another process is writing."""

from mmseg_deeplab_study.json_lines import read_objects


def test_objects_of_a_file_and_of_its_end(tmp_path):
    path = tmp_path / 'a.json'
    assert read_objects(path) == read_objects(path / 'b') == []
    path.write_bytes(b'{"a": 1}\n[2]\n{"b": "\xc3\xa4"}\n{"c": "\xc3')
    assert read_objects(path) == [{'a': 1}, {'b': 'ä'}]
    assert read_objects(path / 'b') == []
    assert read_objects(path, tail=23) == [{'b': 'ä'}]
    assert read_objects(path, tail=10**6) == read_objects(path)
