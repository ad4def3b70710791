"""Tables as lines of text, character by character."""

from mmseg_deeplab_study.tables import make_table, table_cells, table_text


def test_text_has_its_width_and_its_characters():
    table = make_table(['name', 'a[b]', 'score'], left=2)
    table.add_row('x [red]:smile:', '-', '21.0 [8.3, 33.7]', end_section=True)
    table.add_row('y' * 200, 'b', '1')
    wide = 202 * '-'
    assert table_text(table).splitlines() == [
        f'+{wide}+------+------------------+',
        f'| name{196 * " "} | a[b] |            score |',
        f'+{wide}+------+------------------+',
        f'| x [red]:smile:{186 * " "} | -    | 21.0 [8.3, 33.7] |',
        f'+{wide}+------+------------------+',
        f'| {"y" * 200} | b    |                1 |',
        f'+{wide}+------+------------------+',
    ]


def test_cells():
    table = make_table(['a', 'b'])
    table.add_row('1', '2')
    table.add_row('3', '4')
    assert table_cells(table) == (['a', 'b'], [('1', '2'), ('3', '4')])
    assert table_cells(make_table(['a'])) == (['a'], [])
