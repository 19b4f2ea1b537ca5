"""Where a training is among its images, as checkpoints keep it."""

from dataclasses import asdict, dataclass

from mmengine.hooks import Hook


@dataclass(frozen=True)
class Position:
    """A place in a pass over the images; plain numbers, which do not depend on the processes.

    Attributes:
        epoch: Passes before this one.
        images: How many of this pass are done, in all processes together.
        batch: Images of one iteration, in all processes together.
        length: Iterations of a whole pass.
        num_images: Images of the data set.
    """

    epoch: int
    images: int
    batch: int
    length: int
    num_images: int


class PositionHook(Hook):
    """Writes the position of a loop into ``meta['position']`` of each checkpoint, and reads it for the loop.

    Args:
        loop: Has ``position_after(epoch, iterations)``, and gets ``saved_position``.
    """

    def __init__(self, loop) -> None:
        self.loop = loop

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Write it."""
        meta = checkpoint['meta']
        meta['position'] = asdict(self.loop.position_after(meta['epoch'], meta['iter']))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Read it; checkpoints of other loops, and earlier ones, have none."""
        saved = checkpoint.get('meta', {}).get('position')
        self.loop.saved_position = Position(**saved) if saved else None
