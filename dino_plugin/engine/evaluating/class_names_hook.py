"""A hook that compares names of classes with the data set before a test."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log

from dino_plugin.data.images.image_files import first


class ClassNamesHook(Hook):
    """Before a test of names of classes: each class has one, and the log shows which is whose.

    For models with ``names``, `ZeroShotClassifier` and `TextSegmenter`. Without it a list in another order or of other
    classes is a low accuracy, and one that is too short an error after most of the images.
    """

    def before_test(self, runner) -> None:
        """Compare them.

        Raises:
            ValueError: If there are more or fewer names than classes, or a label has none.
        """
        model = getattr(runner.model, 'module', runner.model)  # of several processes
        names, dataset = model.names, runner.test_loop.dataloader.dataset
        classes = dataset.metainfo.get('classes')
        if classes is None:
            self._compare_labels(names, dataset)
            return
        if len(names) != len(classes):
            raise ValueError(
                f'model.classes has {len(names)} names ({first(names)}), and the data set {len(classes)} classes '
                f'({first(classes)}): give a name for each class, in this order.'
            )
        pairs = [name if name == own else f'{own}: {name}' for own, name in zip(classes, names)]
        print_log(f'names of the classes: {first(pairs, 20)}', 'current')

    def _compare_labels(self, names: list[str], dataset: Any) -> None:
        largest = max(int(dataset.get_data_info(index).get('gt_label', -1)) for index in range(len(dataset)))
        if largest >= len(names):
            raise ValueError(
                f'model.classes has {len(names)} names ({first(names)}), and the labels of the data set go up to '
                f'{largest}: give a name for each label from 0 on.'
            )
