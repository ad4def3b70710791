"""Digests, against those that FIPS 180-2 and sha256sum give."""

from mmseg_deeplab_study.digests import data_digest, file_digest, names_digest

ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'  # FIPS 180-2, appendix B.1


def test_digests(tmp_path):
    (tmp_path / 'abc').write_bytes(b'abc')
    assert file_digest(tmp_path / 'abc') == names_digest(['abc']) == ABC
    (tmp_path / 'names').write_bytes(b'a\nb')
    assert names_digest(['a', 'b']) == file_digest(tmp_path / 'names') != names_digest(['b', 'a'])
    (tmp_path / 'data').write_bytes(b'{"a": 1, "b": [null]}')
    assert data_digest({'b': [None], 'a': 1}) == file_digest(tmp_path / 'data')
