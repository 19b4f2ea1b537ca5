"""The tokens of a frozen backbone, computed once for each image."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dino_plugin.core.views import Tokens


class KeptTokens:
    """Tokens by the name of the image, in float16 in the memory of this process.

    An image takes 2 (1 + patches) dim bytes: 0.2 MB for ViT-S/14 at 224 pixels. Later epochs then cost the towers
    alone. The views of an image have to be the same each time: no random crops or colours.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Tensor, ...]] = {}  # class token, patches, a line of the image

    def __call__(self, backbone: nn.Module, images: Tensor, names: Sequence[str]) -> Tokens:
        """The tokens of a batch.

        Raises:
            ValueError: If the view of an image is another than before.
        """
        lines = images[:, 0, images.shape[2] // 2, ::4].cpu()
        new = [place for place, name in enumerate(names) if name not in self._known]
        if new:
            found = [part.half().cpu() for part in backbone(images[new])]
            self._known |= {names[place]: (*parts, lines[place]) for place, *parts in zip(new, *found)}
        *tokens, before = zip(*(self._known[name] for name in names))
        if changed := [name for name, line, old in zip(names, lines, before) if not torch.equal(line, old)]:
            raise ValueError(
                f'keep_tokens=True, but the view of {changed[0]} is another than before: take random crops and colours '
                'out of the pipeline, or set model.keep_tokens=False.'
            )
        # float() first: autocast on a CPU does not stack float16.
        return Tokens(*(torch.stack([part.float() for part in parts]).to(images.device) for parts in tokens))
