"""How far each parameter of a timm network is from the output, for layer decay."""

from timm.models import group_parameters
from torch import nn

LAST_NORMS = ('norm.', 'fc_norm.', 'head.norm.')  # of transformers, those that average patches, convolutional networks


def layers_to_output(model: nn.Module) -> dict[str, int]:
    """0 for the last normalisation, 1 for the last block, n for the first, n + 1 for the embedding.

    timm's ``group_matcher`` tells the block of each parameter; it counts the last normalisation in the last block.

    Args:
        model: From timm, without classifier.

    References:
        Bao et al. 2021, BEiT, arXiv:2106.08254; DINOv2's code counts alike.
    """
    depths = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    num_blocks = max(depth for name, depth in depths.items() if not name.startswith(LAST_NORMS))
    return {name: 0 if name.startswith(LAST_NORMS) else num_blocks + 1 - depth for name, depth in depths.items()}
