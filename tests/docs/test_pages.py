"""The pages are found, lead somewhere, and begin with what a reader came for."""

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
DOCS = REPO / 'docs'
INDEX = DOCS / 'README.md'
PAGES = sorted({*DOCS.glob('*.md')} - {INDEX})
LINKING = [
    *(REPO / name for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')),
    INDEX,
    *PAGES,
    *sorted((REPO / 'configs').glob('*/README.md')),
]
_LINK = re.compile(r'\]\(([^)#]*)(?:#([^)]*))?\)')


def links(page: Path) -> list[tuple[Path, str]]:
    """What a page of the repository links to in it: file and anchor, empty without one."""
    found = [(target, anchor) for target, anchor in _LINK.findall(page.read_text()) if '://' not in target]
    return [((page.parent / target).resolve() if target else page, anchor) for target, anchor in found]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def test_there_are_pages():
    assert len(PAGES) > 15 and len(LINKING) > len(PAGES) + 10


@pytest.mark.parametrize('page', LINKING, ids=lambda page: str(page.relative_to(REPO)))
def test_links_lead_somewhere(page):
    for target, anchor in links(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f'{target}#{anchor}'


def test_the_index_has_every_page():
    linked = {target for target, _ in links(INDEX)}
    configs = sorted((REPO / 'configs').glob('*/README.md'))
    assert configs and not [str(page.relative_to(REPO)) for page in [*PAGES, *configs] if page not in linked]


def test_the_index_says_what_each_page_answers():
    lines = [line for line in INDEX.read_text().splitlines() if line.startswith('- ')]
    assert len(lines) == len(PAGES) + 1  # the last is that of the configs
    assert not [line for line in lines if not line.endswith('?')]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_a_page_begins_with_what_it_answers_and_a_command(page):
    title, first, *rest = page.read_text().partition('\n```')[0].split('\n\n')
    assert title.startswith('# ') and re.match(r'[A-Z]', first), first
    assert first.count('. ') < 4 and len(first) < 500
    # No table before the command, and no more than a paragraph.
    assert '```' in page.read_text()
    before = [block for block in rest if block.strip() and not block.startswith(('## ', '!['))]
    assert len(before) <= 1 and not [block for block in before if '\n|' in f'\n{block}']
