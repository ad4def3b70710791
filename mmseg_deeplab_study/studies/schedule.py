"""From the runs of a study to their ends: what starts when."""

import time
from collections.abc import Iterator
from typing import Protocol

from .plan import Run, Study
from .state import RunState, check_mark, look

GOING_ON = ('queued', 'running')


class Pool(Protocol):
    """Where runs are carried out."""

    def free(self) -> bool:
        """Whether another run can start."""

    def start(self, run: Run) -> None:
        """Start a run."""

    def poll(self) -> None:
        """Note which have ended."""

    def status(self, run: Run) -> str | None:
        """``queued`` or ``running`` where the run's folder does not say so, but the pool knows."""

    def close(self) -> None:
        """Called when the study ends or is interrupted."""


def unfinished(study: Study) -> list[Run]:
    """The runs that have not ended well, in their order.

    Raises:
        ValueError: the folder of one holds a run of another recipe.
    """
    for run in study.runs:
        check_mark(run)
    return [run for run in study.runs if look(run).status != 'done']


def carry_out(
    study: Study, pool: Pool, runs: list[Run], interval: float = 1
) -> Iterator[dict[str, RunState]]:
    """Start ``runs`` as soon as they can be; yield the states of all of the study's until none is going on.

    A run that fails is left, and the others go on; one whose source has failed is blocked. A run that another
    process is at is waited for.
    """
    pending = {run.name: run for run in runs}
    problems: dict[str, str] = {}
    while True:
        pool.poll()
        states: dict[str, RunState] = {}
        # Sources stand before what starts from them.
        for run in study.runs:
            state = _state(run, pool, run.name in pending)
            if run.name in problems:
                state = state._replace(status='failed', problem=problems[run.name])
            source = states[run.source.name].status if run.source else 'done'
            if run.name in pending and state.status == 'done':
                del pending[run.name]  # another process has ended it meanwhile
            elif source in ('failed', 'blocked') and state.status in ('waiting', 'failed'):
                pending.pop(run.name, None)
                state = state._replace(status='blocked')
            elif run.name in pending and state.status == 'waiting' and source == 'done' and pool.free():
                try:
                    pool.start(pending.pop(run.name))
                    state = _state(run, pool, False)
                except (OSError, RuntimeError, ValueError) as error:
                    problems[run.name] = str(error)
                    state = state._replace(status='failed', problem=str(error))
            states[run.name] = state
        yield states
        if not pending and not any(state.status in GOING_ON for state in states.values()):
            return
        time.sleep(interval)


def _state(run: Run, pool: Pool, pending: bool) -> RunState:
    state = look(run)
    # Handing a run on takes its exit code back: where there is one, a cluster's word is old.
    if state.status == 'done' or (state.status == 'failed' and not pending):
        return state
    if going_on := pool.status(run):
        return state._replace(status=going_on)
    if pending and state.status in ('failed', 'interrupted'):
        # Of an earlier call of the study: it is about to be resumed.
        return state._replace(status='waiting')
    if not pending and state.status in ('waiting', 'interrupted'):
        # Nobody is at it and nobody will be: its process ended without a word.
        return state._replace(status='failed')
    return state
