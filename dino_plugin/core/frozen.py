"""A frozen network: never trained, always in evaluation mode, never saved."""

import inspect

import torch
from torch import Tensor, nn

from dino_plugin.core.kept_outputs import KeptOutputs
from dino_plugin.core.views import ClassTokenOnly, Tokens


class FrozenNetwork(nn.Module):
    """A backbone that gives targets and never changes.

    It has no gradients and stays in evaluation mode, batch norms included. State dicts leave it out, since its weights
    come from a file of their own; a strict load does not miss them.

    Args:
        network: A backbone: images with any leading axes -> `Tokens`. It is changed in place.
        keep: Tokens of up to so many images are computed once, see `KeptOutputs`. 0: none.
    """

    def __init__(self, network: nn.Module, keep: int = 0) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self._can_omit_patches = 'patches' in inspect.signature(network.forward).parameters
        self._kept = KeptOutputs(keep) if keep else None
        self.register_state_dict_post_hook(_leave_out)
        self.register_load_state_dict_pre_hook(_put_back)

    @torch.no_grad()
    def forward(self, images: Tensor, patches: bool = True) -> Tokens:
        """The tokens; without ``patches`` the network may leave them out."""
        options = {'patches': False} if self._can_omit_patches and not patches else {}
        if self._kept is None:
            return self.network(images, **options)
        found = self._kept(lambda new: _parts(self.network(new[None], **options)), images.flatten(end_dim=-4))
        class_token, *others = (part.unflatten(0, images.shape[:-3]) for part in found)
        return Tokens(class_token, *others) if others else ClassTokenOnly(class_token, None)

    def train(self, mode: bool = True) -> 'FrozenNetwork':
        """Nothing changes its mode."""
        return super().train(False)


def _parts(tokens: Tokens) -> list[Tensor]:
    """Of the first view."""
    return [part[0] for part in tokens if part is not None]


def _leave_out(frozen: nn.Module, state: dict[str, Tensor], prefix: str, _) -> None:
    for key in [key for key in state if key.startswith(f'{prefix}network.')]:
        del state[key]


def _put_back(frozen: FrozenNetwork, state: dict[str, Tensor], prefix: str, *_) -> None:
    state.update(frozen.network.state_dict(prefix=f'{prefix}network.'))
