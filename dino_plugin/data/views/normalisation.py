"""ImageNet's colours: the mean and standard deviation of each channel, in the order R, G, B."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

# Of pixels in [0, 1], as torchvision, timm and Lightly count.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Of grey levels in [0, 255], as OpenMMLab counts.
IMAGENET_MEAN_LEVELS = tuple(255 * mean for mean in IMAGENET_MEAN)
IMAGENET_STD_LEVELS = tuple(255 * std for std in IMAGENET_STD)


def normalised(block: UInt8[Tensor, 'views rows columns 3']) -> Float[Tensor, 'views 3 rows columns']:
    """(level - mean) / deviation, with the channels in front."""
    mean = 255 * torch.tensor(IMAGENET_MEAN)[:, None, None]
    scale = 1 / (255 * torch.tensor(IMAGENET_STD)[:, None, None])
    # Channels come first while a value is still one byte.
    return block.permute(0, 3, 1, 2).contiguous().float().sub_(mean).mul_(scale)
