"""The config of a model whose weights, the backbone's included, all come from one checkpoint."""

from dino_plugin.weights.checkpoint import backbone_description
from dino_plugin.weights.safe_loading import load_checkpoint

_BACKBONES = ('TimmFeatureMaps', 'TimmFeatureVector')
_SOURCES = ('checkpoint', 'checkpoint_source', 'allow_mismatch', 'pretrained')


def name_backbone(model: dict, checkpoint: str) -> None:
    """Let the backbone of a segmenter, detector or classifier be the network that the checkpoint says.

    The file that its training began with is not needed any more, so the config's is left out. What the config says of
    the network itself wins.

    Args:
        model: Its config, changed in place. Models with other backbones are left as they are.
        checkpoint: A file that `DescribeBackboneHook` wrote in, or with a network of a published shape.

    Raises:
        ValueError: If neither the config nor the checkpoint says which network it is.
    """
    backbone = model.get('backbone') or {}
    if str(backbone.get('type')).split('.')[-1] not in _BACKBONES:
        return
    if backbone.get('model_name') is None:
        description = backbone_description(load_checkpoint(checkpoint), checkpoint)
        if description is None and backbone.get('checkpoint'):
            return  # that file tells
        if description is None:
            raise ValueError(
                f'{checkpoint} does not say which network its backbone is (it was written without '
                'dino_plugin.DescribeBackboneHook), and neither does the config. Name the file that its training began '
                'with, --cfg-options model.backbone.checkpoint=FILE, or the network as timm does, --cfg-options '
                'model.backbone.model_name=vit_small_patch16_224.'
            )
        arguments = {key: value for key, value in description['timm_arguments'].items() if key != 'num_classes'}
        backbone.update({**description, **arguments, **backbone, 'model_name': description['model_name']})
        del backbone['timm_arguments']
    for source in _SOURCES:
        backbone.pop(source, None)
