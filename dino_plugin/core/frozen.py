"""A frozen network: never trained, always in evaluation mode, never saved."""

import inspect

import torch
from torch import Tensor, nn

from dino_plugin.core.views import Tokens


class FrozenNetwork(nn.Module):
    """A backbone that gives targets and never changes.

    It has no gradients and stays in evaluation mode, batch norms included. State dicts leave it out, since its weights
    come from a file of their own; a strict load does not miss them.

    Args:
        network: A backbone: images with any leading axes -> `Tokens`. It is changed in place.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self._can_omit_patches = 'patches' in inspect.signature(network.forward).parameters
        self.register_state_dict_post_hook(_leave_out)
        self.register_load_state_dict_pre_hook(_put_back)

    @torch.no_grad()
    def forward(self, images: Tensor, patches: bool = True) -> Tokens:
        """The tokens; without ``patches`` the network may leave them out."""
        return self.network(images, **({'patches': False} if self._can_omit_patches and not patches else {}))

    def train(self, mode: bool = True) -> 'FrozenNetwork':
        """Nothing changes its mode."""
        return super().train(False)


def _leave_out(frozen: nn.Module, state: dict[str, Tensor], prefix: str, _) -> None:
    for key in [key for key in state if key.startswith(f'{prefix}network.')]:
        del state[key]


def _put_back(frozen: FrozenNetwork, state: dict[str, Tensor], prefix: str, *_) -> None:
    state.update(frozen.network.state_dict(prefix=f'{prefix}network.'))
