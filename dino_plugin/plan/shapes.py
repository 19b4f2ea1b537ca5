"""The model of a config as shapes without numbers: built in seconds, whatever its size, in no memory."""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from dino_plugin.commands.few_images import nested
from dino_plugin.core.distillation import Teacher
from dino_plugin.engine.training.frozen_teacher import build_heads
from dino_plugin.engine.training.model import SelfDistillationModel
from dino_plugin.weights.checkpoint import backbone_description
from dino_plugin.weights.safe_loading import load_checkpoint


def model_in_shapes(cfg: Config) -> SelfDistillationModel:
    """The model on the meta device. A file of weights is needed only where it alone names the network.

    Args:
        cfg: Of a pretraining.

    Raises:
        TypeError: If it trains another model.
        ValueError: If nothing names a network.
    """
    if not cfg.get('train_dataloader') or cfg.model.type != 'dino_plugin.SelfDistillationModel':
        raise TypeError('A plan is for configs that pretrain a dino_plugin.SelfDistillationModel, and this is another.')
    config = cfg.model.to_dict()
    frozen = config.pop('frozen_teacher', None)
    config['data_preprocessor'] = MODELS.build(config['data_preprocessor'])  # its mean and deviation are read
    with torch.device('meta'):
        model = MODELS.build(_without_weights(config))
        if frozen:
            backbone = frozen.get('backbone') or dict(type='dino_plugin.TimmBackbone')
            network = MODELS.build(_without_weights(dict(backbone, checkpoint=frozen['checkpoint'])))
            model.distillation.frozen_teacher = Teacher(network, build_heads(frozen['heads'], network)).eval()
    return model.train()


def _without_weights(config: dict[str, Any]) -> dict[str, Any]:
    """The same networks before any file is loaded into them, not compiled; changed in place."""
    if 'backbone' in config:  # of the model, not of a network
        for option in ('checkpoint', 'defer_weights'):
            config.pop(option, None)
    for part in nested(config):
        if str(part.get('type')).endswith('Backbone'):
            if part.get('checkpoint') and not part.get('model_name'):
                part.update(_named_in(part['checkpoint']))
            for option in ('checkpoint', 'pretrained', 'compile_blocks'):
                part.pop(option, None)
    return config


def _named_in(checkpoint: str) -> dict[str, Any]:
    """Name and arguments of the network in a file."""
    try:
        found = backbone_description(load_checkpoint(checkpoint), checkpoint, 'teacher')
    except FileNotFoundError:
        found = None
    if found is None:
        raise ValueError(
            f'A network is named by {checkpoint} alone, which is not here or does not say which it holds. Name it: '
            '--cfg-options model.backbone.model_name=vit_small_patch14_dinov2, or for a frozen teacher '
            'model.frozen_teacher.backbone.type=dino_plugin.TimmBackbone '
            'model.frozen_teacher.backbone.model_name=vit_giant_patch14_dinov2'
        )
    return dict(model_name=found['model_name'], **found['timm_arguments'])
