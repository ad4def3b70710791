"""What MMEngine's Runner keeps to itself of a resume."""

from pathlib import Path

from mmengine.runner import Runner


def resume_from(runner: Runner, checkpoint: Path) -> None:
    """Have a runner resume from a checkpoint, whatever ``load_from`` its config keeps."""
    runner._resume, runner._load_from = True, str(checkpoint)


def is_resuming(runner: Runner) -> bool:
    """Whether what a runner loads is a checkpoint to go on from."""
    return bool(getattr(runner, '_resume', False))


def is_resumed(runner: Runner) -> bool:
    """Whether a runner has loaded a checkpoint to go on from."""
    return runner._resume and runner._has_loaded


def loaded_from(runner: Runner) -> str | None:
    """The checkpoint that a runner loads, or None."""
    return runner._load_from
