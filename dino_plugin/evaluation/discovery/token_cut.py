"""TokenCut: the graph of patches falls into object and background where it is cut best."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from dino_plugin.evaluation.discovery.normalised_cut import alike, peak, second_eigenvector
from dino_plugin.evaluation.discovery.regions import Region, flattened, region_of


def token_cut(patches: Float[Tensor, 'rows columns dim'], threshold: float = 0.2) -> Region:
    """One object, by a normalised cut.

    Patches are alike if their cosine is above the threshold. The patches where the second eigenvector is above its mean
    are one side of the cut. The foreground is the side with the seed, where its absolute value is largest; the object
    is the part of it that is connected with the seed.

    If all patches are alike, or none are, there is no cut: the object is the whole image, with the first patch as seed.

    Args:
        patches: Keys of the last block in the paper.
        threshold: As in `alike`.

    Raises:
        ValueError: If features are not finite, there are too few or too many patches, or the threshold is outside its
            range.

    References:
        Wang et al. 2022, arXiv:2202.11539, algorithm 1; YangtaoWANG95/TokenCut, object_discovery.py.
    """
    vector = second_eigenvector(alike(flattened(patches), threshold))
    if vector is None:
        return region_of(0, np.ones(patches.shape[:2], dtype=bool))
    foreground = vector > vector.mean()  # has the seed, since its value is the largest and positive
    return region_of(peak(vector), foreground.reshape(patches.shape[:2]))
