"""What a checkpoint says of itself: the size and normalisation of its images, and the network before training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from dino_plugin.backbones.creation import form_of
from dino_plugin.commands.command_line import fail, tell
from dino_plugin.commands.few_images import nested
from dino_plugin.data.views.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS
from dino_plugin.engine.downstream.trained_model import only_backbone
from dino_plugin.weights.checkpoint import backbone_description
from dino_plugin.weights.normalisation import normalisation_of
from dino_plugin.weights.safe_loading import load_checkpoint

USUAL = (256, 224)  # what our configs have if nobody chose: the shorter side, and the square from the centre


def use_own_input(cfg: Config, checkpoint: str, image_size: int | None) -> None:
    """Set the size of all images of a test, and their normalisation, as the option or the checkpoint says.

    A size of the checkpoint counts if the config has the usual one, 256 and 224, and if it is smaller: larger images
    cost more, and figures are published for 224. Sizes up to 224 keep the whole image; larger ones leave out the
    border in the proportion of the config. A config with a `data_preprocessor` keeps its normalisation.

    Args:
        cfg: A config that tests; changed in place. A trained decoder or classifier keeps the size of its training.
        checkpoint: A file, an address, or 'none'; then timm's weights that the config names say it, if there are.
        image_size: Of the option; None: the checkpoint's.

    Raises:
        SystemExit: If the config has no size to set.
        ValueError: If the checkpoint cannot be read.
    """
    crops = list(_crops(cfg))
    if image_size:
        _set_size(cfg, crops, image_size)
    if not only_backbone(cfg.model) or not crops:
        return
    own, mean, std = _said_by(cfg, checkpoint)
    name = cfg.model.backbone.get('model_name') if checkpoint == 'none' else checkpoint
    if own and not image_size and all((crop.resize, crop.crop) == USUAL for crop in crops):
        if own < USUAL[1]:
            _set_size(cfg, crops, own)
            tell(f'images of {own} px, as {name} says of itself; another size: --image-size N')
        elif own > USUAL[1]:
            tell(f'images of {USUAL[1]} px, as the config says; {name} says {own}: --image-size {own}')
    usual = (_rounded(IMAGENET_MEAN_LEVELS), _rounded(IMAGENET_STD_LEVELS))
    if mean and std and not cfg.model.get('data_preprocessor') and (_rounded(mean), _rounded(std)) != usual:
        cfg.model.data_preprocessor = dict(type='dino_plugin.ViewPreprocessor', mean=mean, std=std)
        tell(f'mean and std of images as {name} says of itself: {mean}, {std}')


def _said_by(cfg: Config, checkpoint: str) -> tuple[int | None, list[float], list[float]]:
    """Side in pixels, mean and deviation in levels; None and empty lists where nothing is said."""
    if checkpoint == 'none':
        backbone = cfg.model.backbone
        released = backbone.get('pretrained') is True and backbone.get('model_name')
        given = _timms(backbone.model_name) if released else None
        return (None, [], []) if given is None else (given.input_size[-1], _levels(given.mean), _levels(given.std))
    content = load_checkpoint(checkpoint)
    side = _side(backbone_description(content, checkpoint))
    return side, *(normalisation_of(checkpoint, content) or ([], []))


def untrained(cfg: Config, checkpoint: str) -> None:
    """Put the network that a checkpoint describes into a config, with its initial weights.

    A LayerScale starts at 1: at timm's 1e-5 blocks hardly change their input, and no image differs from another.

    Args:
        cfg: A config that tests a backbone; changed in place.
        checkpoint: A file or an address; only its description counts.

    Raises:
        SystemExit: If there is no checkpoint, or the config needs more of it than the backbone.
        ValueError: If the checkpoint does not say which network it holds.
    """
    if checkpoint == 'none':
        fail('--untrained: of which network? Give its checkpoint in place of the word none.')
    if not only_backbone(cfg.model):
        fail('--untrained: this config tests what was trained on top of a network; train that on an untrained one.')
    description = backbone_description(load_checkpoint(checkpoint), checkpoint)
    if description is None:
        raise ValueError(
            f'{checkpoint} does not say which network it holds; name it: none --cfg-options model.backbone.model_name='
            'vit_small_patch16_224'
        )
    arguments = {key: value for key, value in description['timm_arguments'].items() if key != 'num_classes'}
    rule = {key: description[key] for key in ('position_resampling',) if key in description}
    cfg.model.backbone.update(rule | arguments | _layer_scale(description), model_name=description['model_name'])
    cfg.model.backbone.pop('checkpoint', None)
    cfg.merge_from_dict({'randomness.seed': 0})


def _layer_scale(description: Mapping[str, Any]) -> dict[str, float]:
    network = form_of(description['model_name'], description['timm_arguments'])
    names = [name for name, _ in network.named_parameters()]
    if any(name.endswith(('.ls1.gamma', '.gamma_1')) for name in names):
        return dict(init_values=1.0)
    return dict(ls_init_value=1.0) if any(name.endswith('.gamma') for name in names) else {}


def _side(description: Mapping[str, Any] | None) -> int | None:
    """Pixels of a side of the images that a network was made for; None if that is not said."""
    if description is None:
        return None
    size = description['timm_arguments'].get('img_size')
    if size is None:
        given = _timms(description['model_name'])
        size = given.input_size[-1] if given is not None else None
    return max(size) if isinstance(size, Sequence) else size


def _timms(name: str) -> Any:
    """What timm says of its released weights of this name, or None."""
    import timm

    return timm.get_pretrained_cfg(name)


def _crops(cfg: Config) -> Iterator[ConfigDict]:
    """The transforms that give images their size, of all loaders of a test."""
    test = cfg.get('test_cfg') or {}
    loaders = [cfg.get('test_dataloader'), *(value for key, value in test.items() if key.endswith('_dataloader'))]
    for part in nested([loader.dataset for loader in loaders if loader]):
        if part.get('type') == 'dino_plugin.ResizeCentreCrop':
            yield part


def _set_size(cfg: Config, crops: list[ConfigDict], size: int) -> None:
    if crops:
        for crop in crops:
            crop.update(resize=size if size < USUAL[1] else round(size * USUAL[0] / USUAL[1]), crop=size)
    elif 'short_side' in cfg.model and only_backbone(cfg.model):
        cfg.model.short_side = size
    else:
        fail('--image-size: this config has no size of images to set; its pipelines say what becomes of them.')


def _levels(values: Sequence[float]) -> list[float]:
    """From [0, 1] to levels of [0, 255]."""
    return [round(255 * value, 3) for value in values]


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 1) for value in values]
