"""Everything that a network's features can be asked with the data at hand: names and numbers for one table."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dino_plugin import __version__
from dino_plugin.core.statistics import effective_rank
from dino_plugin.evaluation.attention.images import attention_of_image
from dino_plugin.evaluation.attention.jaccard import image_jaccard, summarise_jaccard
from dino_plugin.evaluation.classification.few_shot import few_shot
from dino_plugin.evaluation.classification.knn import knn_predict
from dino_plugin.evaluation.classification.linear import linear_probe
from dino_plugin.evaluation.classification.raw_pixels import raw_pixel_accuracy
from dino_plugin.evaluation.discovery.box_scores import score_boxes
from dino_plugin.evaluation.discovery.features import patch_features
from dino_plugin.evaluation.discovery.find import find_objects
from dino_plugin.evaluation.discovery.saliency import image_saliency, mean_saliency
from dino_plugin.evaluation.features.cache import FeatureCache, cache_key
from dino_plugin.evaluation.features.extraction import extract_features, stream_features
from dino_plugin.evaluation.objects.images import VOID
from dino_plugin.evaluation.progress import progress
from dino_plugin.evaluation.retrieval.by_class import class_retrieval
from dino_plugin.evaluation.scorecard.data import VIEWS_OF_IMAGE, Card, RandomViews, drawn, loader_of
from dino_plugin.evaluation.scorecard.image_scores import ImageScores, mean_over_images
from dino_plugin.evaluation.scorecard.pairs import pairs_found
from dino_plugin.evaluation.scorecard.patches import figure, segmented_patches
from dino_plugin.evaluation.video.scores import evaluate_clip, global_results
from dino_plugin.evaluation.video.segment_clip import segment_clip
from dino_plugin.evaluation.without_labels.neighbour_agreement import neighbour_shares
from dino_plugin.evaluation.without_labels.spectrum import alpha_req, lidar

SIZE_OF_PIXELS = 32  # of the images whose raw pixels are compared
_LIDAR_IMAGES = 200
_SHOTS = 5
_NEIGHBOURS = 10

Scores = Mapping[str, float | ImageScores]


def measure(
    backbone: nn.Module, card: Card, cache: FeatureCache | None = None, measures: Sequence[str] | None = None
) -> dict[str, float | str]:
    """All numbers by name, in percent where that is possible; the text of its error for what could not be measured.

    Args:
        backbone: `TimmBackbone`, on its device.
        card: What to measure with.
        cache: Where features are kept.
        measures: Which of `MEASURES`; None: all for which the card has data.
    """
    found = measure_images(backbone, card, cache, measures)
    return {name: value.score if isinstance(value, ImageScores) else value for name, value in found.items()}


def measure_images(
    backbone: nn.Module, card: Card, cache: FeatureCache | None = None, measures: Sequence[str] | None = None
) -> dict[str, float | str | ImageScores]:
    """As `measure`, with what each image adds where a number is a mean over images."""
    found: dict[str, float | str | ImageScores] = {}
    for name, (needed, function) in MEASURES.items():
        if getattr(card, needed) and (measures is None or name in measures):
            try:
                found |= function(backbone, card, cache)
            except (ValueError, torch.linalg.LinAlgError) as error:  # the latter of features that are not finite
                found[name] = str(error)
    return found


def images_of_shares(card: Card) -> dict[str, int]:
    """Over how many images a measure without `ImageScores` is a mean of shares, by its name."""
    return dict.fromkeys(('linear', 'retrieval mAP'), len(card.labelled.queries)) if card.labelled else {}


def measure_pixels(card: Card) -> dict[str, float]:
    """k-NN of raw pixels, in the best of several forms, which the queries choose."""
    if card.labelled is None:
        return {}
    parts = []
    for infos in card.labelled:
        images = torch.cat([batch[0] for batch in loader_of(infos, SIZE_OF_PIXELS)])
        parts += [images, torch.tensor([info['gt_label'] for info in infos])]
    return {'k-NN': raw_pixel_accuracy(*parts, k=min(20, len(card.labelled.bank))).accuracy}


def features_of(
    backbone: nn.Module, infos: list[dict], size: int, cache: FeatureCache | None = None
) -> tuple[Float[Tensor, 'images dim'], Int[Tensor, ' images']]:
    """Class token and mean patch, as `pool` joins them, and labels; -1 for images without."""
    key = None if cache is None else cache_key(backbone, infos, ['scorecard', __version__, torch.__version__, size])
    kept = None if key is None else cache.read(key, len(infos))
    device = next(backbone.parameters()).device
    if kept is not None:
        return kept['features'].to(device), kept['labels'].to(device)
    loader = progress(loader_of(infos, size), f'features of {len(infos)} images')
    features, labels = extract_features(backbone, loader, 'class+mean')
    if key is not None:
        cache.write(key, dict(features=features, labels=labels))
    return features, labels


def _of_classes(backbone: nn.Module, card: Card, cache: FeatureCache | None) -> Scores:
    bank, queries = (features_of(backbone, part, card.size, cache) for part in card.labelled)
    k = min(20, len(bank[1]))
    shots = min(_SHOTS, int(bank[1].bincount()[bank[1].unique()].min()))
    few = few_shot(*bank, *queries, shots)
    features, labels = queries
    return {
        'k-NN': mean_over_images(knn_predict(*bank, features, (k,))[k][:, 0] == labels),
        'linear': linear_probe(*bank, *queries).top1,
        f'{shots}-shot logistic': few.mean,
        'retrieval mAP': class_retrieval(*bank, *queries)['mAP'],
    }


def _of_spectrum(backbone: nn.Module, card: Card, cache: FeatureCache | None) -> dict[str, float]:
    parts = card.labelled or [card.images]  # what the classes have computed already is kept
    features = torch.cat([features_of(backbone, part, card.size, cache)[0] for part in parts])
    found = {'RankMe': float(effective_rank(features))}
    if len(features) > 12:
        found['alpha-ReQ'] = alpha_req(features)
    return found


def _of_views(backbone: nn.Module, card: Card, cache: FeatureCache | None) -> Scores:
    infos = drawn(card.images, _LIDAR_IMAGES, seed=0)
    views = DataLoader(RandomViews(infos, card.size), batch_size=4)
    batches = ((pixels.flatten(0, 1), torch.zeros(len(pixels) * VIEWS_OF_IMAGE)) for pixels in progress(views, 'views'))
    rows = torch.cat([features for features, _ in stream_features(backbone, batches)])
    features = rows.unflatten(0, (-1, VIEWS_OF_IMAGE))
    found: dict[str, float | ImageScores] = {'LiDAR': lidar(features)}
    if len(features) > _NEIGHBOURS + 1:
        found['neighbours that agree'] = mean_over_images(neighbour_shares(features, _NEIGHBOURS))
    return found


def _of_attention(backbone: nn.Module, card: Card, cache: FeatureCache | None) -> dict[str, float]:
    found = []
    for item in progress(card.objects, 'attention'):
        labels = torch.from_numpy(item.read_labels())
        (attention,) = attention_of_image(backbone, item.read_image(), short_side=card.short_side)
        objects = torch.from_numpy(item.read_masks())
        found.append(image_jaccard(attention.class_maps()[0].cpu(), objects, labels == VOID))
    summary = summarise_jaccard(found)
    shares = {'attention Jaccard, mean map': summary.mean_map, 'best fixed head': summary.best_fixed_head}
    return {name: 100 * share for name, share in shares.items()}


def _of_discovery(backbone: nn.Module, card: Card, cache: FeatureCache | None) -> dict[str, float]:
    boxes, truth, saliency = [], [], []
    for item in progress(card.objects, 'discovery'):
        masks = item.read_masks()
        if not len(masks):
            continue
        features = patch_features(backbone, item.read_image(), short_side=card.short_side)
        found = find_objects(features, item.size, 'token_cut')
        boxes.append(found.boxes)
        truth.append(item.read_boxes())
        saliency.append(image_saliency(found.masks.any(axis=0).astype(np.float64), masks.any(axis=0)))
    return {
        'TokenCut CorLoc': 100 * score_boxes(boxes, truth).corloc,
        'TokenCut mask IoU': 100 * mean_saliency(saliency).iou,
    }


def _of_patches(backbone: nn.Module, card: Card, cache: FeatureCache | None) -> Scores:
    return {'figure of patches mIoU': segmented_patches(backbone, card.objects, card.short_side, figure)}


def _of_class_masks(backbone: nn.Module, card: Card, cache: FeatureCache | None) -> Scores:
    return {'patches mIoU': segmented_patches(backbone, card.class_masks, card.short_side)}


def _of_pairs(backbone: nn.Module, card: Card, cache: FeatureCache | None) -> Scores:
    features = [features_of(backbone, part, card.size, cache)[0] for part in card.pairs]
    return {'pairs found': pairs_found(*features)}


def _of_clips(backbone: nn.Module, card: Card, cache: FeatureCache | None) -> dict[str, float]:
    multiple = max(backbone.patch_size or (32,))
    scores = [
        evaluate_clip(clip, segment_clip(backbone, clip, short_side=card.short_side, multiple=multiple))
        for clip in progress(card.clips, 'clips')
    ]
    return {'video J&F': 100 * global_results(scores)['J&F-Mean']}


Measure = Callable[[nn.Module, Card, FeatureCache | None], Scores]
# Name in messages, what it needs of the card, function.
MEASURES: dict[str, tuple[str, Measure]] = {
    'classes': ('labelled', _of_classes),
    'spectrum': ('images', _of_spectrum),
    'LiDAR': ('images', _of_views),
    'attention Jaccard': ('objects', _of_attention),
    'TokenCut': ('objects', _of_discovery),
    'figure of patches': ('objects', _of_patches),
    'patches': ('class_masks', _of_class_masks),
    'pairs': ('pairs', _of_pairs),
    'video J&F': ('clips', _of_clips),
}
