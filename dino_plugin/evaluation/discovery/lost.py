"""LOST: the patch that resembles the fewest others lies on an object."""

from jaxtyping import Float
from torch import Tensor

from dino_plugin.evaluation.discovery.regions import Region, flattened, region_of


def lost(patches: Float[Tensor, 'rows columns dim'], num_candidates: int = 100) -> Region:
    """One object, by seed expansion.

    A_ij     = f_i . f_j
    degree_i = number of j != i with A_ij > 0
    seed     = the patch of the smallest degree
    similar  = those of the num_candidates patches of the smallest degrees with A_(seed, j) > 0
    object   = the connected part, around the seed, of {i : sum over j in similar of A_ij > 0}

    Of patches with one degree the first one counts as smallest. If all patches resemble each other (A > 0), the object
    is the whole image.

    Args:
        patches: Keys of the last block in the paper, not normalised.
        num_candidates: Patches among which the seed may find similar ones.

    Raises:
        ValueError: If features are not finite, there are too few or too many patches, the seed's feature is zero, or
            there is no candidate.

    References:
        Siméoni et al. 2021, arXiv:2109.14279; valeoai/LOST, object_discovery.py, whose order of patches with one degree
        is not defined.
    """
    if num_candidates < 1:
        raise ValueError(f'lost: num_candidates is at least 1, got {num_candidates}.')
    features = flattened(patches)
    similarity = features @ features.T
    order = (similarity > 0).fill_diagonal_(False).sum(dim=1).argsort(stable=True)
    seed, candidates = order[0], order[:num_candidates]
    similar = candidates[similarity[seed, candidates] > 0]
    foreground = similarity[similar].sum(dim=0) > 0
    if not foreground[seed]:
        raise ValueError('LOST found a seed that does not resemble itself: the feature of this patch is zero.')
    return region_of(int(seed), foreground.unflatten(0, patches.shape[:2]).cpu().numpy())
