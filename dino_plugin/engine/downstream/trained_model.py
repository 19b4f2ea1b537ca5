"""The config of a model that takes all its weights, also those of its backbone, from one checkpoint."""

from dino_plugin.weights.checkpoint import backbone_description
from dino_plugin.weights.safe_loading import load_checkpoint

_BACKBONES = ('TimmFeatureMaps', 'TimmJoinedMaps', 'TimmFeatureVector', 'TimmBackbone')
_TRAINED = (
    'LinearGrid',
    'ClipClassifier',
    'ImageTextModel',
    'ZeroShotClassifier',
    'TextSegmenter',
)  # more than a backbone
_SOURCES = ('checkpoint', 'checkpoint_source', 'allow_mismatch', 'pretrained')


def only_backbone(model: dict) -> bool:
    """Whether nothing of the model that this config describes was trained apart from its backbone, a `TimmBackbone`."""
    trained = str(model.get('type')).split('.')[-1] in _TRAINED
    return (model.get('backbone') or {}).get('type') == 'dino_plugin.TimmBackbone' and not trained


def name_backbone(model: dict, checkpoint: str) -> None:
    """Take the backbone's name and arguments in a config of a segmenter, detector or classifier from its checkpoint.

    So are other arguments that the checkpoint knows of its model (``meta['arguments']``), and keys of those that are
    dicts. The weights that its training
    began with are not needed any more: the config's options for them are removed.
    Arguments of the network that stand in the config win.

    Args:
        model: Config of the model, changed in place. Models with other backbones stay as they are.
        checkpoint: A file with the description of `DescribeBackboneHook`, or with a network of a published shape.

    Raises:
        ValueError: If neither the config nor the checkpoint says which network it is.
    """
    backbone = model.get('backbone') or {}
    if str(backbone.get('type')).split('.')[-1] not in _BACKBONES:
        return
    content = load_checkpoint(checkpoint)
    for name, value in content.get('meta', {}).get('arguments', {}).items():
        if isinstance(value, dict) and isinstance(model.get(name), dict):
            model[name] = {**value, **model[name]}
        else:
            model.setdefault(name, value)
    if backbone.get('model_name') is None:
        description = backbone_description(content, checkpoint)
        if description is None and backbone.get('checkpoint'):
            return  # that file says it
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
