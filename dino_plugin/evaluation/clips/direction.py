"""Forward or backward: labels that every film has, and that no single frame tells."""

from dino_plugin.evaluation.clips.dataset import ClipDataset


class DirectionOfTime(ClipDataset):
    """Each film or window twice, as it is and backwards: class 0 'forward', class 1 'backward'.

    A network that sees single frames, and a probe without positions in time, can only guess: 50 %.

    Args:
        **kwargs: Of `ClipDataset`; classes of the films do not count.

    References:
        Pickup et al. 2014, "Seeing the arrow of time".
    """

    def load_data_list(self) -> list[dict]:
        """Two dicts for each film or window."""
        samples = super().load_data_list()
        self._metainfo['classes'] = ('forward', 'backward')
        return [dict(sample, gt_label=int(back), backwards=back) for sample in samples for back in (False, True)]
