"""Backbone of a checkpoint -> a file for another program."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from dino_plugin.backbones.creation import ROTARY_AUGMENTATIONS, create, pixels_of_a_token
from dino_plugin.backbones.position_rule import use_position_rule
from dino_plugin.data.views.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS
from dino_plugin.export.formats import GRAPH_FORMATS
from dino_plugin.export.graphs import Graph, channels_of, graph_of, own_size
from dino_plugin.export.huggingface import image_processor_config
from dino_plugin.export.tensors import Exported, in_format
from dino_plugin.weights.checkpoint import backbone_description, backbone_state, load_backbone, load_checkpoint

# Settings of training: the exported network is for use.
_TRAINING_ARGUMENTS = (
    'drop_path_rate',
    'drop_rate',
    'proj_drop_rate',
    'attn_drop_rate',
    *ROTARY_AUGMENTATIONS,
)
_GRAPH_SUFFIXES = {'onnx': '.onnx', 'torch_export': '.pt2'}


def export_backbone(
    checkpoint: str | Path,
    out: str | Path,
    source: str = 'teacher',
    mean: Sequence[float] = IMAGENET_MEAN_LEVELS,
    std: Sequence[float] = IMAGENET_STD_LEVELS,
    format: str = 'timm',
    image_size: tuple[int, int] | None = None,
) -> Path:
    """Writes the backbone of a checkpoint for another program, and a description beside it.

    Tensors, which `TimmBackbone(model_name, checkpoint=FILE)` takes, too:

    - `timm`: `timm.create_model(model_name, **timm_arguments, checkpoint_path=FILE)` with the values of the `.json`
      gives the network. With a new classifier, and at other sizes: `timm.create_model(model_name, num_classes=10,
      pretrained=True, pretrained_cfg_overlay=dict(pretrained_cfg, file=FILE))`.
    - `huggingface`: a folder for `AutoModel`, `AutoImageProcessor` and `pipeline('image-feature-extraction')`. The
      class token is `last_hidden_state[:, 0]`; `pooler_output` is the same: DINO trains no pooler, so that `ViTModel`
      gets one that changes nothing.
    - `mmpretrain`, `original`: the names of mmpretrain's VisionTransformer, and of the authors' repositories. Both
      read `.pth`.

    The network itself, a function of normalised `images` (batch, channels, rows, columns) that gives `class_token`
    (batch, dim) and `patches` (batch, rows, columns, dim). Images that are no whole number of patches are padded with
    zeros at the bottom and right. The description says whether rows and columns are free, and, if not, why:

    - `onnx`: one file for onnxruntime and others.
    - `torch_export`: for `torch.export.load(FILE).module()`. That, unlike all other reading here, unpickles what the
      file says: load only files that you trust.

    Args:
        checkpoint: Of a training with `EMATeacherHook`, which leaves the backbone's description in it; or any other
            that `backbone_description` recognises.
        out: Path without a hash: `work_dirs/a/vit-small.safetensors` (or `.../vit-small`) becomes
            `work_dirs/a/vit-small-1a2b3c4d.safetensors`, with the first eight digits of its SHA-256. The suffix `.pth`
            makes it a PyTorch file. For `huggingface` it is the folder, `work_dirs/a/vit-small-1a2b3c4d/`; `onnx` has
            the suffix `.onnx`, `torch_export` `.pt2`.
        source: `teacher` or `student`.
        mean: That images were normalised with, per channel, in grey levels of [0, 255]; goes into the description.
        std: Likewise.
        format: One of `FORMATS` or `GRAPH_FORMATS`.
        image_size: Rows and columns in pixels that `onnx` and `torch_export` fix. None: any size where the network's
            values are the same then, else the network's own.

    Returns:
        The path of the file with the weights; the description is beside it, with the suffix `.json`.

    Raises:
        ValueError: If the checkpoint has no description of its backbone, its weights do not fit that description, the
            format has no counterpart for the network, the suffix is of another format, or an image size is given for
            tensors.
        ImportError: If packages for ONNX are missing.
    """
    if image_size and format not in GRAPH_FORMATS:
        raise ValueError(f'image_size={image_size} fixes the size of {list(GRAPH_FORMATS)}; {format!r} holds tensors.')
    model, card = _network_of(checkpoint, source)
    card |= dict(
        mean=[round(level / 255, 6) for level in mean],  # of pixels in [0, 1], as timm has it
        std=[round(level / 255, 6) for level in std],
        network=source,
        format=format,
    )
    if format in GRAPH_FORMATS:
        graph = graph_of(model, format, image_size)
        path = _write_file(graph.content, Path(out), _GRAPH_SUFFIXES[format])
        card['graph'] = _graph_card(graph, model)
    else:
        path = _write(in_format(model, format), Path(out), card)
    if format == 'timm':
        card['pretrained_cfg'] = _pretrained_cfg(model, card)
    path.with_suffix('.json').write_text(json.dumps(card, indent=2) + '\n')
    return path


def _network_of(checkpoint: str | Path, source: str) -> tuple[nn.Module, dict[str, Any]]:
    """timm's model with the weights, and what is to be said of it."""
    description = backbone_description(checkpoint)
    if description is None:
        raise ValueError(
            f'{checkpoint} does not say what backbone it holds (meta.backbone), and is of no published architecture. '
            "Checkpoints say that if they were trained with custom_hooks=[dict(type='dino_plugin.EMATeacherHook')]."
        )
    name, arguments = description['model_name'], description['timm_arguments']
    dropped = (*_TRAINING_ARGUMENTS, 'num_classes')
    arguments = {key: value for key, value in arguments.items() if key not in dropped}
    model, rule = create(name, False, arguments), description.get('position_resampling', 'timm')
    use_position_rule(model, rule)
    content = load_checkpoint(checkpoint)
    load_backbone(model, backbone_state(content, source), name=str(checkpoint), description=description)
    patches = getattr(model, 'patch_embed', None)
    card = dict(
        model_name=name,
        timm_arguments=arguments | {'num_classes': 0},
        position_resampling=rule,
        image_size=getattr(patches, 'img_size', None),
        patch_size=pixels_of_a_token(model),
        feature_dim=model.num_features,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    meta = content.get('meta')
    if isinstance(meta, Mapping) and 'losses' in meta:
        card['method'] = [str(loss) for loss in meta['losses']]
    return model, card


def _pretrained_cfg(model: nn.Module, card: Mapping[str, Any]) -> dict[str, Any]:
    """What timm is to know of the file that takes the place of its released weights."""
    return dict(
        num_classes=0,  # the file has no classifier: any number makes a new one
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


def _write(exported: Exported, out: Path, card: Mapping[str, Any]) -> Path:
    """Writes weights (and what Hugging Face's folder holds beside them); returns the path of the weights."""
    suffix = '.pth' if out.suffix == '.pth' else '.safetensors'
    if exported.config is None:
        content = _pth(exported.state) if suffix == '.pth' else save(exported.state, metadata={'format': 'pt'})
        return _write_file(content, out, suffix)
    if suffix == '.pth':
        raise ValueError(f'A Hugging Face folder holds safetensors; give the folder without .pth, got {out}.')
    content = save(exported.state, metadata={'format': 'pt'})
    folder = out.with_name(_with_hash(out.name.removesuffix(suffix), content))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'model.safetensors').write_bytes(content)
    processor = image_processor_config(card['image_size'], card['mean'], card['std'])
    for name, config in {'config.json': exported.config, 'preprocessor_config.json': processor}.items():
        (folder / name).write_text(json.dumps(config, indent=2) + '\n')
    return folder / 'model.safetensors'


def _write_file(content: bytes, out: Path, suffix: str) -> Path:
    """Writes one file under the name that has its hash."""
    if out.suffix in {'.safetensors', '.pth', *_GRAPH_SUFFIXES.values()} - {suffix}:
        raise ValueError(f'This format writes {suffix}; give a name with that suffix or none, got {out}.')
    path = out.with_name(_with_hash(out.name.removesuffix(suffix), content) + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _with_hash(name: str, content: bytes) -> str:
    return f'{name}-{hashlib.sha256(content).hexdigest()[:8]}'


def _pth(state: dict[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
