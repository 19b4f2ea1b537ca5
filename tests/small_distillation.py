"""A backbone of three layers that knows patches and masks, and the models and views that the tests make with it."""

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from dino_plugin.core.distillation import SelfDistillation
from dino_plugin.core.heads import DINOHead
from dino_plugin.core.losses.dino import DINOLoss
from dino_plugin.core.masking import random_masks
from dino_plugin.core.targets import Centering
from dino_plugin.core.views import Tokens, ViewBatch


class DropPath(nn.Module):
    """Like timm's: its rate is an attribute called drop_prob."""

    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        keep = torch.rand(*x.shape[:-1], 1) >= self.drop_prob if self.training else torch.ones(*x.shape[:-1], 1)
        return x * keep


class Backbone(nn.Module):
    """Mean colours of 2 x 2 pixels -> patches, each of which sees the mean of all; records what it sees."""

    embed_dim = 6

    def __init__(self, drop=0.0):
        super().__init__()
        self.embed, self.mix = nn.Linear(3, 6), nn.Linear(6, 6)
        self.mask_token = nn.Parameter(torch.zeros(6))
        self.drop_path = DropPath(drop)
        self.dropout = nn.Dropout(drop)
        self.seen = []

    def forward(self, images, masks=None, local=False):
        self.seen.append(tuple(images.shape))
        patches = self.embed(avg_pool2d(images.flatten(0, 1), 2).movedim(1, -1)).unflatten(0, images.shape[:2])
        masked = torch.zeros(patches.shape[:-1], dtype=torch.bool) if masks is None else masks
        patches = torch.where(masked[..., None], self.mask_token, patches)
        class_token = self.dropout(self.drop_path(self.mix(patches.mean((2, 3)))))
        return Tokens(class_token, patches + class_token[:, :, None, None])


def make_head(seed=1, **arguments):
    torch.manual_seed(seed)
    return DINOHead(6, prototypes=8, hidden_dim=10, bottleneck_dim=4, **arguments)


def make(drop=0.0, momentum=0.9, losses=None, heads=None, frozen_teacher=None):
    torch.manual_seed(0)
    backbone = Backbone(drop)
    heads = {'cls': make_head()} if heads is None else heads
    losses = losses or {'dino': DINOLoss('cls', Centering(8))}
    return SelfDistillation(backbone, heads, losses, momentum, frozen_teacher)


def make_views(num_global=2, num_local=3, batch=4, num_masked=None):
    """Global views of 4 x 4 patches; ``num_masked`` of them for each view and image, views first."""
    torch.manual_seed(1)
    local_views = torch.randn(num_local, batch, 3, 6, 6) if num_local else None
    views = ViewBatch(torch.randn(num_global, batch, 3, 8, 8), local_views)
    if num_masked is None:
        return views
    masks = random_masks(torch.tensor(num_masked), 4, 4, torch.Generator().manual_seed(2))
    return views.with_masks(masks.unflatten(0, (num_global, batch)))


def parameters_of(network):
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def train_step(model, views, progress=0.0):
    """One step of plain gradient descent and of the teacher; the losses."""
    losses = model(views, progress)
    model.zero_grad()
    sum(losses.values()).backward()
    with torch.no_grad():
        for parameter in model.student.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad)
    model.update_teacher(progress)
    return losses
