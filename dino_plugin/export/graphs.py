"""A timm model as a graph that runs without this package: ONNX, or PyTorch's `torch.export`."""

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch
from timm.layers import to_2tuple
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from dino_plugin.backbones.tokens import channels_of, patch_size_of
from dino_plugin.export.formats import GRAPH_FORMATS
from dino_plugin.export.traceable import ImagesToTokens, traceable_positions

_ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
_ONNX_LIMIT = 2**31  # bytes of one protobuf message
_CELL = 32  # stride in pixels of the last feature map of most convolutional networks
# Relative to the network's largest value. Another order of summation changes values by 1e-6 to 1e-5, another rule for
# resampling positions by 1e-2.
_TOLERANCE = 1e-3

Run = Callable[[Tensor], Sequence[Tensor]]
Size = tuple[int, int]


class Graph(NamedTuple):
    """The content of the file, and its description."""

    content: bytes
    image_size: Size | None  # rows and columns in pixels; None: any
    fixed_because: str | None  # why the size is fixed though none was asked for; None: it is not
    largest_difference: float  # from the network, relative to its largest value


def graph_of(model: nn.Module, format: str, image_size: Size | None = None) -> Graph:
    """The network as a graph: `images` -> `class_token`, `patches`.

    Batch, rows and columns are free. The graph is compared with the network at two image sizes and two batch sizes. If
    the export fails or the values differ, the graph is exported again for the network's own size only.

    Args:
        model: From timm, without classifier, built for images of any size if possible.
        format: One of `GRAPH_FORMATS`.
        image_size: Rows and columns in pixels to fix; None: any size, if possible.

    Raises:
        ImportError: If packages for ONNX are missing.
        ValueError: If the format is unknown, the export fails, or the weights do not fit into an ONNX file.
    """
    if format not in GRAPH_FORMATS:
        raise ValueError(f'format must be one of {list(GRAPH_FORMATS)}, got {format!r}.')
    if format == 'onnx':
        _require_onnx(model)
    network = ImagesToTokens(model).eval()
    sizes = [image_size] if image_size else [None, own_size(model)]
    fixed_because = None
    for size in sizes:
        try:
            content, difference = _exported(network, format, size)
        except Exception as error:  # torch.export and the ONNX exporter raise many classes
            cause, fixed_because = error, _first_line(error)
        else:
            return Graph(content, size, fixed_because, difference)
    rows, columns = sizes[-1]
    raise ValueError(
        f'{type(model).__name__} cannot be written as {format} for images of {rows} x {columns} pixels by PyTorch '
        f'{torch.__version__}: {fixed_because}. Try another size (image_size, --image-size), a newer PyTorch, or '
        "format='timm'."
    ) from cause


def _exported(network: ImagesToTokens, format: str, size: Size | None) -> tuple[bytes, float]:
    """The file's content and its largest difference from the network. Raises: ValueError: If that is too large."""
    rows, columns = own_size(network.model) if size is None else size
    compared = [(1, rows, columns), (3, rows, columns)]
    if size is None:
        compared[1] = (3, rows * 5 // 4 + 1, columns * 3 // 4 - 1)
    with torch.no_grad(), traceable_positions(network.model):
        program = _traced(network, size)
        content, run = _onnx(program) if format == 'onnx' else _torch_export(program)
    difference = max(_difference(network, run, shape) for shape in compared)
    if not difference <= _TOLERANCE:
        raise ValueError(f'its values differ from the network, by {difference:.1%} of the largest')
    return content, difference


def _traced(network: ImagesToTokens, size: Size | None) -> ExportedProgram:
    if size is None:  # not the network's own size and not a square: torch.export might fix those
        rows, columns = own_size(network.model)
        step = patch_size_of(network.model) or (_CELL, _CELL)
        size, free = (rows + 2 * step[0], columns + 4 * step[1]), (0, 2, 3)
    else:
        free = (0,)
    images = torch.zeros(2, channels_of(network), *size)
    return torch.export.export(
        network, (images,), dynamic_shapes={'images': dict.fromkeys(free, Dim.DYNAMIC)}, strict=False
    )


def _torch_export(program: ExportedProgram) -> tuple[bytes, Run]:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue(), program.module()


def _onnx(program: ExportedProgram) -> tuple[bytes, Run]:
    import onnxruntime

    names = dict(input_names=['images'], output_names=['class_token', 'patches'])
    content = torch.onnx.export(program, dynamo=True, verbose=False, **names).model_proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    return content, lambda images: [torch.from_numpy(value) for value in session.run(None, {'images': images.numpy()})]


def _difference(network: ImagesToTokens, run: Run, shape: tuple[int, int, int]) -> float:
    batch, rows, columns = shape
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, channels_of(network), rows, columns, generator=generator)
    with torch.no_grad():
        pairs = [*zip(run(images), network(images), strict=True)]
    if any(found.shape != expected.shape for found, expected in pairs):
        return float('inf')
    return max(float((found - expected).abs().max() / expected.abs().max()) for found, expected in pairs)


def _require_onnx(model: nn.Module) -> None:
    if missing := [name for name in _ONNX_PACKAGES if find_spec(name) is None]:
        raise ImportError(
            f'format onnx needs {", ".join(missing)}, not installed here: pip install "dino_plugin[onnx]"'
        )
    if (size := 4 * sum(parameter.numel() for parameter in model.parameters())) >= _ONNX_LIMIT:
        raise ValueError(f'{size / 2**30:.1f} GiB of weights do not fit into one ONNX file (2 GiB): use torch_export.')


def own_size(model: nn.Module) -> Size:
    """Rows and columns of the images that the network is built for."""
    size = getattr(getattr(model, 'patch_embed', None), 'img_size', None)
    return to_2tuple(size or model.pretrained_cfg['input_size'][-2:])


def _first_line(error: Exception) -> str:
    """The reason in one line; the ONNX exporter puts it into the error's cause."""
    return str(error.__cause__ or error).strip().split('\n')[0].rstrip('.')[:200] or type(error).__name__
