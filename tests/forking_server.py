"""Forks a child per command from a process that has imported everything, so that imports are paid for once.

Its arguments are the modules to import. Reads a job a line from standard input, as JSON, and answers with a
line each: ``{"start": {"argv", "cwd", "env", "stdout", "stderr", "patch"}}`` with the child's process id,
``{"wait": id}`` with its wait status. ``argv`` is what follows ``python``: a script or ``-c CODE``, and its
arguments. ``patch``, a Python file, one of its functions and that function's arguments, is called first.
"""

import atexit
import contextlib
import faulthandler
import importlib
import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from types import ModuleType

SECONDS = 400  # after which a child that hangs shows where, and ends


def run(job: dict) -> None:
    os.chdir(job['cwd'])
    os.environ.clear()
    os.environ.update(job['env'])
    for stream, number in (('stdout', 1), ('stderr', 2)):
        file = os.open(job[stream], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    faulthandler.dump_traceback_later(SECONDS, exit=True, file=2)
    if 'patch' in job:
        path, name, *arguments = job['patch']
        runpy.run_path(path)[name](*arguments)
    script, *arguments = job['argv']
    if script == '-c':
        code, *arguments = arguments
        sys.argv = ['-c', *arguments]
        sys.path[0] = ''
        sys.modules['__main__'] = main = ModuleType('__main__')
        exec(compile(code, '<string>', 'exec'), main.__dict__)
    else:
        sys.argv = [script, *arguments]
        sys.path[0] = str(Path(script).parent)
        runpy.run_path(script, run_name='__main__')


def end(job: dict) -> int:
    """Run a job as an interpreter would, to its exit code."""
    status = 1
    try:
        run(job)
        status = 0
    except SystemExit as exit_:
        if isinstance(exit_.code, str):
            print(exit_.code, file=sys.stderr)
        else:
            status = exit_.code or 0
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return status


def serve() -> None:
    # What a module prints is no answer.
    answers = os.dup(1)
    os.dup2(2, 1)
    for module in sys.argv[1:]:
        importlib.import_module(module)
    if 'torch' in sys.modules:
        # Before any fork: OpenMP's threads do not survive one.
        sys.modules['torch'].set_num_threads(1)
    if 'mmengine' in sys.modules:
        # yapf would take up to half of a short run.
        sys.modules['mmengine'].config.config.FormatCode = lambda text, **_: (text, True)
    for line in sys.stdin:
        job = json.loads(line)
        if 'wait' in job:
            answer = os.waitpid(job['wait'], 0)[1]
        elif (answer := os.fork()) == 0:
            os._exit(end(job['start']))
        os.write(answers, f'{answer}\n'.encode())


if __name__ == '__main__':
    serve()
