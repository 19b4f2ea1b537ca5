"""Features of a folder of images as a file: for tools/extract_features.py and for `dino_plugin.extract_features`."""

from pathlib import Path

from torch import nn

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.sources.shard_dataset import ShardDataset
from dino_plugin.data.sources.shard_index import INDEX
from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.evaluation.features.files import Written, write_features
from dino_plugin.weights.normalisation import Normalisation


def write_features_of_images(
    backbone: nn.Module,
    images: str | Path,
    out: str | Path,
    features: str = 'class',
    last_blocks: int = 1,
    resize: int = 256,
    crop: int = 224,
    batch_size: int = 64,
    num_workers: int = 2,
    precision: str = 'fp32',
    normalisation: Normalisation | None = None,
) -> Written:
    """`write_features` of a folder, or of a text list of paths.

    Args:
        backbone: As in `write_features`, like the arguments that are not below.
        images: A folder, at any depth, or a list.
        last_blocks: Class tokens of this many last blocks.
        resize: Pixels of the shorter side.
        crop: Pixels of the square from the centre.
        precision: Of the network: 'fp32', 'bf16' or 'fp16'. Features are float32.
        normalisation: Of the images, see `normalisation_of`. Default: ImageNet's.

    Raises:
        ValueError: As `write_features`.
        OSError: If there are no images.
    """
    dataset = images_at(images, resize, crop)
    dtype = PRECISIONS[precision]
    device = next(backbone.parameters()).device
    preprocessor = ViewPreprocessor(*normalisation).to(device) if normalisation else None
    return write_features(
        backbone, dataset, out, features, last_blocks, batch_size, num_workers, autocast_dtype=dtype,
        preprocessor=preprocessor,
    )  # fmt: skip


def images_at(images: str | Path, resize: int, crop: int) -> ImageDataset | ShardDataset:
    """The images of a folder, of a list or of shards, as a network sees them in evaluation."""
    images = Path(images).expanduser()
    source = dict(data_root=images) if images.is_dir() else dict(ann_file=images.absolute())
    pipeline = [
        dict(type='dino_plugin.LoadImage'),
        dict(type='dino_plugin.ResizeCentreCrop', resize=resize, crop=crop),
        dict(type='dino_plugin.PackImage'),
    ]
    kind = ShardDataset if (images / INDEX).is_file() else ImageDataset
    return kind(**source, pipeline=pipeline)
