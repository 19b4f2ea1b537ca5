"""Data set and metric of mmdetection for boxes in files of COCO's format. It needs mmdetection."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmengine.logging import print_log

from dino_plugin.evaluation.detection.annotations import (
    class_names,
    has_area,
    outside,
    read_annotations,
    sorted_as,
    summary,
)
from dino_plugin.evaluation.detection.image_sizes import refuse_other_sizes
from dino_plugin.evaluation.objects.files import refuse_missing


class BoxDataset(CocoDataset):
    """Images and boxes of a file of COCO's format, whose classes are those of the file.

    Before training it reads the whole file, looks for each image, compares sizes of at most 2000 images, evenly spread,
    with ``width`` and ``height``, and logs what mmdetection leaves out silently.

    Args:
        class_file: Another file of COCO's format that says the classes, that of the training images; beginning in
            ``data_root``. None: ``ann_file``. ``metainfo['classes']`` wins, to take some of the classes.
        **options: mmdetection's and mmengine's: ``data_root``, ``ann_file``, ``data_prefix``, ``filter_cfg``...

    Raises:
        FileNotFoundError: If a file or an image is missing.
        ValueError: As in `read_annotations` and `refuse_other_sizes`; or if no box with an area, inside of its image,
            is of the classes.
    """

    METAINFO: dict = {}
    COCOAPI: Any  # mmdetection's: makes an index of a file

    def __init__(self, class_file: str | None = None, **options: Any) -> None:
        self.class_file = class_file
        super().__init__(**options)

    def load_data_list(self) -> list[dict]:
        """mmdetection's, of the content that has been checked."""
        content = read_annotations(self.ann_file)
        if 'classes' not in self._metainfo:
            other = self.class_file and Path(self.data_root or '', self.class_file)
            self._metainfo['classes'] = class_names(read_annotations(other) if other else content)
        classes = self._metainfo['classes']
        self._metainfo.update(class_file=str(self.ann_file), palette='random')
        print_log(f'{self.ann_file}: {summary(classes, content)}.', logger='current')
        folder = Path(self.data_prefix['img'])
        refuse_missing(
            [folder / image['file_name'] for image in content['images']], 'images of the annotations', folder
        )
        refuse_other_sizes(self.ann_file, content['images'], folder, self.pipeline.transforms)
        content = sorted_as(classes, content)
        if sum(map(has_area, content['annotations'])) == len(outside(content)):
            raise ValueError(f'{self.ann_file} has no box with an area of the classes {classes} inside of its image.')
        self.COCOAPI = lambda _: _indexed(content)
        try:
            return super().load_data_list()
        finally:
            del self.COCOAPI


class BoxMetric(CocoMetric):
    """COCO's AP by mmdetection; file and classes are those of the `BoxDataset` that is tested."""

    _coco_api: Any

    @property
    def dataset_meta(self) -> dict | None:
        """mmengine's: what the data set says of itself."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        self._dataset_meta = meta
        if self._coco_api is None:
            self._coco_api = _indexed(sorted_as(meta['classes'], read_annotations(meta['class_file'])))


def _indexed(content: dict) -> COCO:
    api = COCO()
    api.dataset = content
    with redirect_stdout(StringIO()):  # it prints that it begins, and that it ends
        api.createIndex()
    api.img_ann_map, api.cat_img_map = api.imgToAnns, api.catToImgs  # mmdetection's names
    return api
