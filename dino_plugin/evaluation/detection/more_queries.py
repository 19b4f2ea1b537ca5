"""DETR of mmdetection that learns in fewer steps: extra queries, and boxes that the encoder proposes."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from mmdet.models.detectors import DABDETR
from mmdet.models.layers.transformer import inverse_sigmoid
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from dino_plugin.evaluation.detection.box_bias import cell_centres

Places = tuple[Tensor, Tensor]  # x and y of the cells' centres for each image, in shares of the image
PROPOSED_SIZE = 0.1  # width and height of a proposal before its cell has learnt any, in shares of the image


class MoreQueriesDETR(DABDETR):
    """DAB-DETR with two options that change the training; the decoder is told where the cells lie.

    Extra queries: with one query for each box, few queries learn at each step. A second group of queries goes through
    the same decoder, by itself, and each box is matched with several of them. A test leaves the group out.

    Proposals: each cell of the encoder's map names a class and a box, matched one to one. The queries begin at the
    boxes with the best scores, in place of boxes that are the same for all images; extra queries at the next best.

    Args:
        extra_queries: Number of queries in the second group.
        repeats: How many queries of the second group each box is matched with.
        proposals: Whether queries begin at proposals of the encoder.
        **options: mmdetection's.

    Raises:
        ValueError: If `extra_queries` is negative or `repeats` is not 1 or more.

    References:
        Jia et al. 2022, arXiv:2207.13080, section 3.2 (extra queries: "hybrid branch scheme").
        Zhu et al. 2020, arXiv:2010.04159, section 4.2 (proposals: "two-stage").
    """

    def __init__(self, extra_queries: int = 0, repeats: int = 6, proposals: bool = False, **options: Any) -> None:
        if extra_queries < 0 or repeats < 1:
            raise ValueError(
                f'extra_queries={extra_queries!r} is a number from 0 on, and repeats={repeats!r} one from 1 on.'
            )
        self.extra_queries, self.repeats, self.proposals = extra_queries, repeats, proposals
        super().__init__(**options)

    def _init_layers(self) -> None:
        super()._init_layers()
        if self.proposals:
            self.proposal_head = deepcopy(self.bbox_head)
            del self.query_embedding
        elif self.extra_queries:
            self.extra_embedding = nn.Embedding(self.extra_queries, self.query_dim)

    def loss(self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]) -> dict[str, Tensor]:
        """mmdetection's losses; those of the extra queries are named 'extra.…', those of proposals 'proposals.…'."""
        memory, options = self._encoded(self.extract_feat(batch_inputs), batch_data_samples)
        starts = self._starts(memory, **options)
        groups = {'': (self.bbox_head, self._decoded(starts[0], memory, options), batch_data_samples)}
        if len(starts) > 1:
            repeated = [_repeated(sample, self.repeats) for sample in batch_data_samples]
            groups['extra.'] = (self.bbox_head, self._decoded(starts[1], memory, options), repeated)
        if self.proposals:
            proposed = dict(hidden_states=memory[None], references=_anchors(*options['places'])[None])
            groups['proposals.'] = (self.proposal_head, proposed, batch_data_samples)
        return {
            group + name: value
            for group, (head, outputs, samples) in groups.items()
            for name, value in head.loss(**outputs, batch_data_samples=samples).items()
        }

    def forward_transformer(self, img_feats: Sequence[Tensor], batch_data_samples: Any = None) -> dict[str, Tensor]:
        """mmdetection's, of the queries that a test has."""
        memory, options = self._encoded(img_feats, batch_data_samples)
        return self._decoded(self._starts(memory, **options)[0], memory, options)

    def _encoded(self, img_feats: Sequence[Tensor], batch_data_samples: Any) -> tuple[Tensor, dict]:
        encoder_inputs, options = self.pre_transformer(img_feats, batch_data_samples)
        features, padded = img_feats[-1], batch_data_samples[0].batch_input_shape
        rows, columns = (
            cell_centres(
                features.shape[2 + axis], padded[axis], [s.img_shape[axis] for s in batch_data_samples], features
            )
            for axis in (0, 1)
        )
        return self.forward_encoder(**encoder_inputs)['memory'], dict(options, places=(columns, rows))

    def _starts(self, memory: Tensor, memory_mask: Tensor | None, places: Places, **_: Any) -> list[Tensor]:
        """The boxes, before the sigmoid, where the queries begin, and those where the extra ones do."""
        if not self.proposals:
            learnt = [self.query_embedding] + ([self.extra_embedding] if self.extra_queries else [])
            return [boxes.weight.expand(len(memory), -1, -1) for boxes in learnt]
        scores, boxes = self.proposal_head(memory[None], _anchors(*places)[None])
        best = scores[0].amax(-1)
        if memory_mask is not None:
            best = best.masked_fill(memory_mask, -torch.inf)
        chosen = best.topk(min(self.num_queries + self.extra_queries, best.shape[1])).indices
        starts = inverse_sigmoid(boxes[0].gather(1, chosen[..., None].expand(-1, -1, 4)).detach())
        own, extra = starts[:, : self.num_queries], starts[:, self.num_queries :]
        return [own, extra] if extra.shape[1] else [own]  # a small map has no cells left for the extra ones

    def _decoded(self, starts: Tensor, memory: Tensor, options: dict) -> dict[str, Tensor]:
        query = memory.new_zeros(*starts.shape[:2], self.embed_dims)
        return self.forward_decoder(query=query, query_pos=starts, memory=memory, **options)


def _anchors(columns: Tensor, rows: Tensor) -> Float[Tensor, 'images cells 4']:
    """A box of `PROPOSED_SIZE` around each cell."""
    x, y = columns[:, None].expand(-1, rows.shape[1], -1), rows[:, :, None].expand(-1, -1, columns.shape[1])
    size = torch.full_like(x, PROPOSED_SIZE)
    return torch.stack([x, y, size, size], dim=-1).flatten(1, 2)


def _repeated(sample: DetDataSample, times: int) -> DetDataSample:
    boxes = sample.gt_instances
    repeated = InstanceData(bboxes=boxes.bboxes.repeat(times, 1), labels=boxes.labels.repeat(times))
    return DetDataSample(metainfo=sample.metainfo, gt_instances=repeated)
