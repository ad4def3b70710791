import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def run_tool(load_tool, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """A function of a tool's name and arguments that runs it; returns exit code, output and errors."""

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
        try:
            code = load_tool(name).main()
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return run
