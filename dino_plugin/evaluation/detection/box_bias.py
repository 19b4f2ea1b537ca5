"""Where a pixel lies, seen from a box: a bias for the attention of a detector's queries."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

SCALES = ('linear', 'log')


class BoxBias(nn.Module):
    """The bias of attention from boxes to the cells of a map, from the distances of a cell to the four edges.

    bias_h(box, cell) = f_h(x - left, x - right) + g_h(y - top, y - bottom) for attention head h

    f and g are linear layers with a ReLU between. Rows and columns are apart, so the cost is that of rows + columns.

    Args:
        num_heads: Heads of the attention.
        hidden: Width of the layer between.
        scale: 'linear': distances d in shares of the image; 'log': sign(d) log2(1 + 8 |d|) / 3, finer near the edges.

    Raises:
        ValueError: If the scale is unknown.

    References:
        Lin et al. 2023, arXiv:2308.01904, section 4.1 ("box-to-pixel relative position bias").
    """

    def __init__(self, num_heads: int, hidden: int = 512, scale: str = 'linear') -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f'BoxBias: scale={scale!r} is none of {SCALES}.')
        self.scale = scale
        self.along_x, self.along_y = (
            nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, num_heads)) for _ in range(2)
        )

    def init_weights(self) -> None:
        """PyTorch's initial weights, whatever a detector has drawn for all its parts."""
        for layer in (*self.along_x, *self.along_y):
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def forward(
        self,
        boxes: Float[Tensor, 'images boxes 4'],
        columns: Float[Tensor, 'images columns'],
        rows: Float[Tensor, 'images rows'],
    ) -> Float[Tensor, 'images heads boxes rows columns']:
        """The bias to add to the attention's scores.

        Args:
            boxes: Centre x, centre y, width, height in shares of the image.
            columns: The x of the cells' centres in shares of the image, as from `cell_centres`.
            rows: Their y.
        """
        across = self.along_x(self._distances(boxes[..., 0], boxes[..., 2], columns))
        down = self.along_y(self._distances(boxes[..., 1], boxes[..., 3], rows))
        # In fp32 also under autocast: mmdetection's attention takes no other mask with it.
        return (across.permute(0, 3, 1, 2)[:, :, :, None] + down.permute(0, 3, 1, 2)[..., None]).float()

    def _distances(self, centres: Tensor, sizes: Tensor, cells: Tensor) -> Float[Tensor, 'images boxes cells 2']:
        edges = torch.stack([centres - sizes / 2, centres + sizes / 2], dim=-1)
        distances = cells[:, None, :, None] - edges[:, :, None]
        return distances if self.scale == 'linear' else distances.sign() * torch.log2(1 + 8 * distances.abs()) / 3


def cell_centres(cells: int, padded: int, sizes: Sequence[int], like: Tensor) -> Float[Tensor, 'images cells']:
    """Centres of cells along one side, in shares of each image; above 1 in its padding.

    Args:
        cells: Number of cells over the padded side.
        padded: Pixels of the padded side.
        sizes: Pixels of each image's side without its padding.
        like: A tensor of the kind and device that the result gets.
    """
    centres = (torch.arange(cells, dtype=like.dtype, device=like.device) + 0.5) * (padded / cells)
    return centres / like.new_tensor(sizes)[:, None]
