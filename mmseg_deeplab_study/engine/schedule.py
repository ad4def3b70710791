"""When something that is not done at every validation is due."""

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner


def is_due(runner: Runner, interval: int) -> bool:
    """Whether this validation is one of every ``interval``, the first at iteration 0, or the last."""
    number, between = divmod(runner.iter, runner.val_interval)
    return runner.iter >= runner.max_iters or (between == 0 and number % interval == 0)


def is_validated(runner: Runner) -> bool:
    """Whether the iteration that a run starts or resumes from is one that is validated; iteration 0 is."""
    loop = runner.train_loop
    # The loop itself does this after every update, but not before it starts.
    loop._decide_current_val_interval()
    iteration = runner.iter
    on_schedule = iteration % loop.val_interval == 0 or iteration == runner.max_iters
    return iteration == 0 or (iteration >= loop.val_begin and on_schedule)


def require_iterations(runner: Runner, hook: Hook) -> None:
    """Raise ValueError unless the run counts iterations, as every MMSegmentation schedule does."""
    if not isinstance(runner.train_loop, IterBasedTrainLoop):
        raise ValueError(
            f"{type(hook).__name__} needs train_cfg.type='IterBasedTrainLoop', but got "
            f'{type(runner.train_loop).__name__}'
        )
