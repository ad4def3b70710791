"""Findings of checks, and checks that fail themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """``level`` is 'ok', 'info', 'warning' or 'error'; ``cure`` is one line, or empty."""

    level: str
    check: str
    text: str
    cure: str = ''


def run_check(check: Callable[..., Iterator[Finding]], *arguments: Any) -> Iterator[Finding]:
    """The findings of a check; an error in it is one more, so that others run."""
    try:
        yield from check(*arguments)
    except Exception as error:
        name = check.__name__.replace('check_', '').replace('_', ' ')
        what, cure = f'{type(error).__name__}: {error}', 'the lines above may say why; if not, report this'
        if isinstance(error, ModuleNotFoundError):
            what, cure = error, f'pip install {error.name}'
        yield Finding('error', name, f'could not be checked: {what}', cure)


def as_text(finding: Finding) -> str:
    """One line, and one of cure."""
    line = f'{finding.level:<8} {finding.check}: {finding.text}\n'
    return f'{line}{"":<8}   -> {finding.cure}\n' if finding.cure else line


def as_json(findings: Sequence[Finding]) -> str:
    """A list of objects, one for each finding."""
    return json.dumps([finding._asdict() for finding in findings], indent=2) + '\n'


def summary(findings: Sequence[Finding]) -> str:
    """One line that counts errors and warnings."""
    counts = [sum(finding.level == level for finding in findings) for level in ('error', 'warning')]
    return f'{counts[0]} error{"s"[: counts[0] != 1]}, {counts[1]} warning{"s"[: counts[1] != 1]}\n'


def exit_code(findings: Sequence[Finding], strict: bool) -> int:
    """1 if there is an error, or with ``strict`` a warning; else 0."""
    bad = ('error', 'warning') if strict else ('error',)
    return int(any(finding.level in bad for finding in findings))
