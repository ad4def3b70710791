"""Folders of the package import from lower ones alone, and no module is in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / 'mmseg_deeplab_study'
# From the lowest to the highest; hub is a module. The other modules beside them are below, __init__ is above.
ROOMS = (
    'datasets',
    'checkpoints',
    'models',
    'evaluation.metrics',
    'runs',
    'evaluation',
    'engine',
    'report',
    'inference',
    'hub',
    'studies',
    'doctor',
)
FILES = {'.'.join(path.relative_to(PACKAGE).with_suffix('').parts): path for path in PACKAGE.rglob('*.py')}


def imports_of(name: str) -> set[str]:
    """The modules of the package that a module imports, at its head or in a function."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = [PACKAGE.name, *name.split('.')][: -node.level] if node.level else []
        base += node.module.split('.') if node.module else []
        if base[:1] == [PACKAGE.name]:
            paths = ['.'.join([*base[1:], alias.name]) for alias in node.names]
            found |= {path if path in FILES else '.'.join(base[1:]) for path in paths}
    return {path for path in found if path in FILES}


def room_of(name: str) -> int:
    if name == '__init__':
        return len(ROOMS)
    folder = name.rpartition('.')[0].replace('datasets.drawn', 'datasets') or name
    return ROOMS.index(folder) if folder in ROOMS else -1


def test_every_folder_is_a_room():
    folders = {name.rpartition('.')[0] for name in FILES} - {''}
    assert folders - {'datasets.drawn'} == {*ROOMS} - {'hub'}


def test_no_module_imports_from_a_higher_room():
    modules = [name for name in FILES if not name.endswith('__init__')]
    pairs = [(name, other) for name in modules for other in imports_of(name)]
    assert modules and not [pair for pair in pairs if room_of(pair[1]) > room_of(pair[0])]


def test_no_module_is_in_a_circle():
    graph = {name: imports_of(name) for name in FILES if not name.endswith('__init__')}
    assert sum(map(len, graph.values())) > 100
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_inference_and_the_doctor_import_no_command_line():
    for name in FILES:
        if name.startswith(('inference.', 'doctor.')):
            assert not imports_of(name) & {'runs.launch', 'studies.carry_out'}, name
