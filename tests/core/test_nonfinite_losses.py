"""An image that is not finite makes each loss not finite; none raises. So the step is skipped and the batch kept."""

import importlib
import pkgutil

import pytest
from small_distillation import Backbone, make, make_head, make_views

from dino_plugin.core import losses
from dino_plugin.core.heads import ProjectionHead
from dino_plugin.core.losses.alignment import AlignmentLoss, PatchAlignmentLoss, ViewMeanLoss
from dino_plugin.core.losses.base import Loss
from dino_plugin.core.losses.cluster_prediction import ClusteringLoss, ClusterPredictionLoss
from dino_plugin.core.losses.coding_rate import CodingRateLoss
from dino_plugin.core.losses.dino import DINOLoss
from dino_plugin.core.losses.feature_regression import FeatureRegressionLoss
from dino_plugin.core.losses.gram import GramLoss
from dino_plugin.core.losses.ibot import IBOTPatchLoss
from dino_plugin.core.losses.kernel_alignment import KernelAlignmentLoss
from dino_plugin.core.losses.koleo import KoLeoLoss
from dino_plugin.core.losses.sigreg import SIGRegLoss
from dino_plugin.core.positionwise_targets import PositionwiseSinkhornKnopp
from dino_plugin.core.prediction import ClusterHead, PatchPredictor
from dino_plugin.core.targets import Centering, SinkhornKnopp


def regression(**options):
    return FeatureRegressionLoss(Backbone(), 'projection', 'projection', **options)


CASES = {
    'alignment': lambda: AlignmentLoss('cls'),
    'patch alignment': lambda: PatchAlignmentLoss('cls'),
    'distance from the mean': lambda: ViewMeanLoss('cls'),
    'clustering': lambda: ClusteringLoss('clusters', PositionwiseSinkhornKnopp()),
    'clusters predicted': lambda: ClusterPredictionLoss('predictor', 'clusters', PositionwiseSinkhornKnopp()),
    'coding rate': lambda: CodingRateLoss('cls'),
    'coding rate of the student': lambda: CodingRateLoss('cls', with_teacher=False),
    'DINO': lambda: DINOLoss('cls', Centering(8)),
    'DINO, Sinkhorn-Knopp': lambda: DINOLoss('cls', SinkhornKnopp()),
    'iBOT': lambda: IBOTPatchLoss('cls', SinkhornKnopp()),
    'regression': regression,
    'regression, cosine': lambda: regression(distance='cosine', scale='standardised'),
    'regression, relational': lambda: regression(distance='relational', local_weight=1.0, scale='raw'),
    'Gram': GramLoss,
    'kernel alignment': KernelAlignmentLoss,
    'KoLeo': KoLeoLoss,
    'KoLeo in groups': lambda: KoLeoLoss(group_size=2),
    'SIGReg': lambda: SIGRegLoss('cls'),
}


def heads():
    return {
        'cls': make_head(),
        'projection': ProjectionHead(6, 6),
        'clusters': ClusterHead(6, 8),
        'predictor': PatchPredictor(6, 8, dim=8, depth=1, num_heads=2),
    }


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
@pytest.mark.parametrize('case', CASES)
def test_one_image_that_is_not_finite_makes_the_loss_so(case, value):
    loss = CASES[case]()
    views = make_views(num_masked=[3, 4, 1, 2, 2, 4, 2, 1])
    views.global_views[0, 0] = value
    model = make(losses={'it': loss}, heads={name: head for name, head in heads().items() if name in loss.heads})
    assert not model(views, 0.0)['it'].isfinite()


def test_no_loss_of_the_package_is_left_out():
    names = (found.name for found in pkgutil.iter_modules(losses.__path__, f'{losses.__name__}.'))
    there = {
        kind
        for name in names
        for kind in vars(importlib.import_module(name)).values()
        if isinstance(kind, type) and issubclass(kind, Loss) and not kind.__name__.startswith('_')
    }
    assert {type(build()) for build in CASES.values()} == there - {Loss}
