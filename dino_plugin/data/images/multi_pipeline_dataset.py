"""One list of images, several pipelines to choose from."""

from collections.abc import Sequence
from typing import Any

from mmengine.dataset import Compose
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from dino_plugin.data.images.decoding import check_files
from dino_plugin.data.images.headers import MAX_PIXELS


class MultiPipelineDataset(Dataset):
    """n images with k pipelines: item i is image i % n after pipeline i // n.

    `MixedBatchSampler` chooses a pipeline for each batch, for example one with larger views. `SeededDataset` stands
    between the two::

        dataset=dict(
            type='dino_plugin.SeededDataset',
            dataset=dict(
                type='dino_plugin.MultiPipelineDataset',
                dataset=dict(type='dino_plugin.ImageDataset', data_root='data/imagenet/train'),
                pipelines=[pipeline_of_512_pixels, pipeline_of_768_pixels]))

    Args:
        dataset: Config of an mmengine dataset without a pipeline, or the dataset itself.
        pipelines: Lists of transforms or their configs, as mmengine's datasets take one.

    Raises:
        TypeError: If the dataset has no ``get_data_info``, which gives an image before any pipeline.
        ValueError: If the dataset has a pipeline of its own, or there are no others.
    """

    def __init__(self, dataset: Any, pipelines: Sequence[Sequence[Any]]) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        if not hasattr(self.dataset, 'get_data_info'):
            raise TypeError(
                f'MultiPipelineDataset: {type(self.dataset).__name__} has no get_data_info; give an mmengine dataset '
                'such as dino_plugin.ImageDataset.'
            )
        if getattr(getattr(self.dataset, 'pipeline', None), 'transforms', None):
            raise ValueError(
                'MultiPipelineDataset: the dataset has a pipeline of its own, which never runs. Move it to `pipelines`.'
            )
        if not pipelines:
            raise ValueError('MultiPipelineDataset: no pipelines; give a list with one list of transforms for each.')
        self.pipelines = [Compose(pipeline) for pipeline in pipelines]
        self.full_init()

    def full_init(self) -> None:
        """Load the annotations."""
        self.dataset.full_init()

    @property
    def metainfo(self) -> dict:
        """The metainfo of the dataset; empty where it has none."""
        return getattr(self.dataset, 'metainfo', {})

    def get_data_info(self, index: int) -> dict:
        """The annotations of the image, the same for every pipeline."""
        return self.dataset.get_data_info(index % len(self.dataset))

    def __len__(self) -> int:
        return len(self.pipelines) * len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        info = self.get_data_info(index)
        check_files(info, info.get('max_pixels', MAX_PIXELS))
        return self.pipelines[index // len(self.dataset)](info)
