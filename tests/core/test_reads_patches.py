"""What no loss reads is not asked for, and the losses and gradients are the same."""

import pytest
import torch
from networks import randomised
from small_distillation import Backbone, make, make_views
from torch import nn

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.distillation import SelfDistillation, Teacher
from dino_plugin.core.heads import DINOHead
from dino_plugin.core.losses.base import Loss
from dino_plugin.core.losses.dino import DINOLoss
from dino_plugin.core.losses.gram import GramLoss
from dino_plugin.core.losses.ibot import IBOTPatchLoss
from dino_plugin.core.losses.koleo import KoLeoLoss
from dino_plugin.core.targets import Centering
from dino_plugin.core.views import ClassTokenOnly, Tokens, ViewBatch


class Asked(Backbone):
    """Notes what it is asked for, and leaves out what it may."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, images, masks=None, local=False, patches=True):
        self.asked.append((len(images), local, patches))
        tokens = super().forward(images, masks, local)
        return tokens if patches else ClassTokenOnly(tokens.class_token, None)


def losses_of(*names):
    made = {
        'dino': DINOLoss('cls', Centering(8)),
        'koleo': KoLeoLoss(),
        'ibot': IBOTPatchLoss('cls', Centering(8)),
        'gram': GramLoss(),
    }
    return {name: made[name] for name in names}


def asked(losses, views, frozen_teacher=None):
    model = SelfDistillation(Asked(), {'cls': DINOHead(6, 8, 10, 4)}, losses, 0.9, frozen_teacher)
    model(views, 0.5)
    teacher = model.teacher.backbone.asked if frozen_teacher is None else frozen_teacher.backbone.asked
    return [patches for _, _, patches in model.student.backbone.asked], [patches for _, _, patches in teacher]


@pytest.mark.parametrize(
    ('names', 'student', 'teacher'),
    [
        (['dino'], [False, False], [False]),
        (['dino', 'koleo'], [False, False], [False]),
        (['dino', 'ibot'], [True, False], [True]),
        (['dino', 'gram'], [True, False], [False]),
        (['dino', 'koleo', 'ibot', 'gram'], [True, False], [True]),
    ],
)
def test_only_what_a_loss_reads_is_asked_for(names, student, teacher):
    views = make_views(num_local=3, num_masked=[3] * 8)
    assert asked(losses_of(*names), views) == (student, teacher)
    frozen_teacher = Teacher(Asked(), {'cls': DINOHead(6, 8, 10, 4)})
    assert asked(losses_of(*names), views, frozen_teacher) == (student, teacher)


def test_a_loss_that_does_not_say_gets_everything():
    class Newcomer(Loss):
        def forward(self, step):
            return sum(tokens.patches.mean() for tokens in (step.student_global, step.student_local))

    student, teacher = asked({'new': Newcomer(), **losses_of('dino')}, make_views())
    assert (student, teacher) == ([True, True], [True])


def test_a_loss_that_reads_more_than_it_says_is_told_so():
    class Liar(DINOLoss):
        def forward(self, step):
            return step.student_global.patches.mean()

    with pytest.raises(ValueError, match='no loss asked for them'):
        asked({'liar': Liar('cls', Centering(8))}, make_views())


def test_a_backbone_that_knows_nothing_of_it_is_called_as_ever():
    model = make()
    assert 'patches' not in Backbone.forward.__code__.co_varnames[:4]
    assert all(loss.isfinite() for loss in model(make_views(), 0.0).values())


class AllOfIt(nn.Module):
    """A backbone behind the smallest contract: all tokens, one size after the other."""

    def __init__(self, backbone):
        super().__init__()
        self.inner = backbone

    def forward(self, images, masks=None, local=False) -> Tokens:
        return self.inner(images, masks=masks, local=local)


NETWORKS = {
    'plain': ('vit_tiny_patch16_224', {}),
    'registers': ('vit_small_patch14_reg4_dinov2', {}),
    'rope': ('vit_small_patch16_dinov3', {}),
}


@pytest.mark.parametrize('kind', NETWORKS)
@pytest.mark.parametrize('names', [['dino', 'koleo'], ['dino', 'ibot', 'koleo'], ['dino', 'gram']])
@pytest.mark.parametrize('num_local', [0, 2])
def test_losses_and_gradients_are_those_of_the_plain_forward_passes(kind, names, num_local):
    results = []
    for plain in (True, False):
        name, arguments = NETWORKS[kind]
        shape = dict(embed_dim=48, depth=2, num_heads=2, patch_size=8, img_size=32)
        backbone = randomised(TimmBackbone(name, mask_token=True, local_norm=True, **shape, **arguments))
        torch.manual_seed(0)
        heads = {'cls': DINOHead(48, 8, 10, 4)}
        model = SelfDistillation(AllOfIt(backbone) if plain else backbone, heads, losses_of(*names), 0.9).double()
        for target in (module for module in model.modules() if isinstance(module, Centering)):
            target.float()  # as in training, targets are computed in float32
        generator = torch.Generator().manual_seed(1)
        sizes = ((2, 3, 3, 32, 32), (num_local, 3, 3, 16, 16)) if num_local else ((2, 3, 3, 32, 32),)
        views = ViewBatch(*(torch.randn(size, generator=generator).double() for size in sizes))
        if 'ibot' in names:
            views = views.with_masks(torch.rand(2, 3, 4, 4, generator=generator) < 0.5)
        losses = model(views, 0.5)
        sum(losses.values()).backward()
        gradients = {name.replace('inner.', ''): p.grad for name, p in model.student.named_parameters()}
        results.append((losses, {name: gradient for name, gradient in gradients.items() if gradient is not None}))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)
