"""DAB-DETR of mmdetection with a bias of attention from boxes to pixels. It needs mmdetection."""

from typing import Any

import torch
from mmdet.models.layers.transformer import DABDetrTransformerDecoder, coordinate_to_encoding, inverse_sigmoid
from torch import Tensor, nn

from dino_plugin.evaluation.detection.box_bias import BoxBias
from dino_plugin.evaluation.detection.more_queries import MoreQueriesDETR, Places


class BoxBiasDecoder(DABDetrTransformerDecoder):
    """DAB-DETR's decoder, whose attention to the image has a `BoxBias` in place of the modulation by width and height.

    Each layer moves the boxes, and the next one sees them there.

    Args:
        box_bias: Arguments of `BoxBias`, without the number of heads.
        **options: mmdetection's.
    """

    def __init__(self, box_bias: dict, **options: Any) -> None:
        super().__init__(with_modulated_hw_attn=False, **options)
        self.biases = nn.ModuleList(BoxBias(layer.cross_attn.num_heads, **box_bias) for layer in self.layers)

    def forward(
        self, query: Tensor, key: Tensor, query_pos: Tensor, key_pos: Tensor, reg_branches: nn.Module,
        key_padding_mask: Tensor | None, places: Places,
    ) -> list[Tensor]:  # fmt: skip
        """States of the queries after each layer, and the boxes before it."""
        boxes, states, references = query_pos.sigmoid(), [], [query_pos.sigmoid()]
        for number, (layer, bias) in enumerate(zip(self.layers, self.biases)):
            encoded = coordinate_to_encoding(boxes, num_feats=self.embed_dims // 2)
            scale = self.query_scale(query) if number else 1
            query = layer(
                query,
                key,
                query_pos=self.ref_point_head(encoded),
                key_pos=key_pos,
                ref_sine_embed=encoded[..., : self.embed_dims] * scale,
                cross_attn_masks=bias(boxes, *places).flatten(3).flatten(0, 1),
                key_padding_mask=key_padding_mask,
                is_first=number == 0,
            )
            moved = (reg_branches(query) + inverse_sigmoid(boxes)).sigmoid()
            states.append(self.post_norm(query))
            references.append(moved)
            boxes = moved.detach()
        return [torch.stack(states), torch.stack(references[:-1])]


class BoxBiasDETR(MoreQueriesDETR):
    """`MoreQueriesDETR` with a `BoxBiasDecoder`: ``decoder.box_bias`` holds the arguments of `BoxBias`."""

    decoder: Any  # a config, then the decoder

    def _init_layers(self) -> None:
        config = dict(self.decoder)
        self.decoder = {name: value for name, value in config.items() if name != 'box_bias'}
        super()._init_layers()
        self.decoder = BoxBiasDecoder(**config)

    def init_weights(self) -> None:
        """mmdetection's, which draws all weights anew, but for the biases."""
        super().init_weights()
        for bias in self.decoder.biases:
            bias.init_weights()

    def forward_decoder(self, memory: Tensor, memory_mask: Tensor | None, memory_pos: Tensor, **options: Any) -> dict:
        """mmdetection's, with the places of the cells."""
        states, references = self.decoder(
            key=memory, key_pos=memory_pos, key_padding_mask=memory_mask, reg_branches=self.bbox_head.fc_reg, **options
        )
        return dict(hidden_states=states, references=references)
