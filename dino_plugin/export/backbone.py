"""Exporting the backbone of a checkpoint to a file for another program."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dino_plugin.backbones.creation import ROTARY_AUGMENTATIONS, create
from dino_plugin.backbones.position_rule import use_position_rule
from dino_plugin.backbones.tokens import channels_of, patch_size_of
from dino_plugin.data.views.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS
from dino_plugin.export.files import GRAPH_SUFFIXES, write_file, write_tensors
from dino_plugin.export.formats import GRAPH_FORMATS, OWN
from dino_plugin.export.graphs import Graph, graph_of, own_size
from dino_plugin.export.tensors import Exported, in_format
from dino_plugin.weights.checkpoint import backbone_description, backbone_state, own_tensors
from dino_plugin.weights.normalisation import normalisation_of
from dino_plugin.weights.reading.file_checks import sha256_of
from dino_plugin.weights.safe_loading import load_checkpoint
from dino_plugin.weights.strict_loading import load_backbone

# Arguments of training, which the exported network does not need; it has no classifier.
_DROPPED = {'drop_path_rate', 'drop_rate', 'proj_drop_rate', 'attn_drop_rate', 'num_classes', *ROTARY_AUGMENTATIONS}


def export_backbone(
    checkpoint: str | Path,
    out: str | Path,
    source: str = 'teacher',
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    format: str = 'timm',
    image_size: tuple[int, int] | None = None,
) -> Path:
    """Writes the backbone of a checkpoint for another program, and a description beside it.

    Formats that hold tensors; `TimmBackbone(model_name, checkpoint=FILE)` reads them, too:

    - `timm`: `timm.create_model(model_name, **timm_arguments, checkpoint_path=FILE)` with the values of the `.json`
      gives the network. With a new classifier, and at other sizes: `timm.create_model(model_name, num_classes=10,
      pretrained=True, pretrained_cfg_overlay=dict(pretrained_cfg, file=FILE))`.
    - `huggingface`: a folder for `AutoModel`, `AutoImageProcessor` and `pipeline('image-feature-extraction')`. The
      class token is `last_hidden_state[:, 0]`. `pooler_output` is the same: `ViTModel` gets an identity as its pooler,
      since DINO trains none.
    - `mmpretrain`, `original`: the key names of mmpretrain's VisionTransformer, and of the authors' repositories. Both
      read `.pth`.
    - `own`: the names that the network's author gave; for a `FeatureMapBackbone`, which has no other format.

    Formats that hold the network, a function of normalised `images` (batch, channels, rows, columns) with the outputs
    `class_token` (batch, dim) and `patches` (batch, rows, columns, dim). Images are padded to whole patches with zeros
    at the bottom and right. The description says whether rows and columns are free, and if not, why:

    - `onnx`: one file for onnxruntime and others.
    - `torch_export`: for `torch.export.load(FILE).module()`. Unlike everything here, that unpickles the file: load only
      files that you trust.

    Args:
        checkpoint: Of a training with `EMATeacherHook`, which adds the backbone's description; or any other that
            `backbone_description` recognises.
        out: Path without a hash: `work_dirs/a/vit-small.safetensors` (or `.../vit-small`) becomes
            `work_dirs/a/vit-small-1a2b3c4d.safetensors`, with the first eight digits of its SHA-256. The suffix `.pth`
            makes it a PyTorch file. For `huggingface` it is the folder, `work_dirs/a/vit-small-1a2b3c4d/`; `onnx` has
            the suffix `.onnx`, `torch_export` `.pt2`.
        source: `teacher`, `student`, or the name of another network in the file, see `backbone_state`.
        mean: Mean of the images' normalisation, per channel, in levels of [0, 255]; for the description. None: what the
            checkpoint says, see `normalisation_of`, otherwise ImageNet's.
        std: Standard deviation, likewise.
        format: One of `FORMATS` or `GRAPH_FORMATS`, or `own`.
        image_size: Rows and columns in pixels, fixed in `onnx` and `torch_export`. None: any size if the
            exported values then equal the network's, else the network's own size.

    Returns:
        The path of the file with the weights; the description is beside it, with the suffix `.json`.

    Raises:
        ValueError: If the checkpoint does not describe its backbone, the weights do not fit the description, the format
            does not exist for the network, the suffix is of another format, mean or std have other channels, or an
            image size is given for tensors.
        ImportError: If packages for ONNX are missing.
    """
    if image_size and format not in GRAPH_FORMATS:
        raise ValueError(f'image_size={image_size} fixes the size of {list(GRAPH_FORMATS)}; {format!r} holds tensors.')
    content = load_checkpoint(checkpoint)
    said = normalisation_of(checkpoint, content) or (IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS)
    mean, std = (said[0] if mean is None else mean), (said[1] if std is None else std)
    if format == OWN:
        return _export_own(content, Path(out), source, dict(mean=[*mean], std=[*std]))
    model, card = _network_of(content, checkpoint, source)
    if not len(mean) == len(std) == channels_of(model):
        raise ValueError(
            f'mean and std have {len(mean)} and {len(std)} numbers, and the network has {channels_of(model)} channels: '
            "give --mean and --std those of the training's ViewPreprocessor."
        )
    card |= dict(
        mean=[round(level / 255, 6) for level in mean],  # of pixels in [0, 1], as timm has it
        std=[round(level / 255, 6) for level in std],
        network=source,
        format=format,
    )
    if format in GRAPH_FORMATS:
        graph = graph_of(model, format, image_size)
        path = write_file(graph.content, Path(out), GRAPH_SUFFIXES[format])
        card['graph'] = _graph_card(graph, model)
    else:
        path = write_tensors(in_format(model, format), Path(out), card)
    card['sha256'] = sha256_of(path)
    if format == 'timm':
        card['pretrained_cfg'] = _pretrained_cfg(model, card)
    path.with_suffix('.json').write_text(json.dumps(card, indent=2) + '\n')
    return path


def _export_own(content: Mapping[str, Any], out: Path, source: str, levels: dict[str, list[float]]) -> Path:
    """The tensors of a `FeatureMapBackbone`, for the program that the network is from."""
    module = _module_of(content)
    if module is None:
        raise ValueError("format='own' is for a FeatureMapBackbone, and the checkpoint holds none: take format='timm'.")
    path = write_tensors(
        Exported({key: value.contiguous() for key, value in own_tensors(content, source).items()}), out, {}
    )
    card = {name: [round(level / 255, 6) for level in values] for name, values in levels.items()}
    card |= dict(module=module, network=source, format=OWN, sha256=sha256_of(path))
    path.with_suffix('.json').write_text(json.dumps(card, indent=2) + '\n')
    return path


def _module_of(content: Mapping[str, Any]) -> str | None:
    """The class of the network in a checkpoint of a `FeatureMapBackbone`; None for any other checkpoint."""
    meta = content.get('meta')
    description = meta.get('backbone') if isinstance(meta, Mapping) else None
    return str(description['module']) if isinstance(description, Mapping) and 'module' in description else None


def _network_of(content: Mapping[str, Any], checkpoint: str | Path, source: str) -> tuple[nn.Module, dict[str, Any]]:
    """timm's model with the weights, and its description."""
    description = backbone_description(content, checkpoint, source)
    if description is None:
        if module := _module_of(content):
            raise ValueError(f'{checkpoint} holds a {module}, which is not from timm: take --format own.')
        raise ValueError(
            f'{checkpoint} does not say which backbone it holds (meta.backbone), and its shapes are of no published '
            "network. Training with custom_hooks=[dict(type='dino_plugin.EMATeacherHook')] adds the description."
        )
    name, rule = description['model_name'], description.get('position_resampling', 'timm')
    arguments = {key: value for key, value in description['timm_arguments'].items() if key not in _DROPPED}
    model = create(name, False, arguments)
    use_position_rule(model, rule)
    load_backbone(model, backbone_state(content, source), name=str(checkpoint), description=description)
    patches = getattr(model, 'patch_embed', None)
    card = dict(
        model_name=name,
        timm_arguments=arguments | {'num_classes': 0},
        position_resampling=rule,
        image_size=getattr(patches, 'img_size', None),
        patch_size=patch_size_of(model),
        feature_dim=model.num_features,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    meta = content.get('meta')
    if isinstance(meta, Mapping) and 'losses' in meta:
        card['method'] = [str(loss) for loss in meta['losses']]
    return model, card


def _pretrained_cfg(model: nn.Module, card: Mapping[str, Any]) -> dict[str, Any]:
    """timm's settings for a file that replaces its released weights."""
    return dict(
        num_classes=0,  # the file has no classifier; any other number makes a new one
        custom_load=False,
        input_size=[channels_of(model), *own_size(model)],
        mean=card['mean'],
        std=card['std'],
        interpolation='bicubic',
        crop_pct=0.875,
    )


def _graph_card(graph: Graph, model: nn.Module) -> dict[str, Any]:
    rows, columns = graph.image_size or ('rows', 'columns')
    return dict(
        inputs=dict(images=['batch', channels_of(model), rows, columns]),
        outputs=dict(class_token=['batch', 'dim'], patches=['batch', 'patch_rows', 'patch_columns', 'dim']),
        normalisation='not in the graph: RGB, (pixels / 255 - mean) / std',
        fixed_because=graph.fixed_because,
        largest_difference=graph.largest_difference,
        torch=torch.__version__,
    )
