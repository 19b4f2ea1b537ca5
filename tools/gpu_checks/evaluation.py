"""Features, k-NN and label propagation on the device, compared with the CPU."""

import argparse
import copy
from collections.abc import Sequence
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmark.ways import relative_gap
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.collate import image_collate
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.mmcv_transforms import LoadImage, PackImage, ResizeCentreCrop
from dino_plugin.evaluation.classification.knn import knn_predict
from dino_plugin.evaluation.features.extraction import extract_features, stream_patches
from dino_plugin.evaluation.video.davis_dataset import DAVISDataset
from dino_plugin.evaluation.video.propagation import LabelPropagator
from dino_plugin.evaluation.video.segment_clip import labels_of_mask, segment_clip
from gpu_checks.findings import Findings
from gpu_checks.recipes import bundled, image_folder, size_of

# Relative: fp32 sums in another order through all layers; bf16 keeps 8 bits of each factor, fp16 11.
FEATURES = {'fp32': (None, 1e-4), 'bf16': (torch.bfloat16, 3e-2), 'fp16': (torch.float16, 5e-3)}
KS, TEMPERATURE = (5, 20), 0.07
CLOSE = 1e-4  # relative: of two classes with such votes, or labels with such shares, either may win
FRAMES = 4
PIXELS = 0.01  # share of a mask that may differ: each pixel on the edge between two labels may fall to either side


def run(options: argparse.Namespace, findings: Findings) -> None:
    """Of an untrained network, whose weights are the same on both sides."""
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    on_cpu = TimmBackbone('vit_small_patch16_224', **size_of(options).network).eval()
    on_device = copy.deepcopy(on_cpu).to(options.device)
    batches = labelled_images(options)
    features, labels = extract_features(on_cpu, batches)
    for precision in FEATURES:
        findings.attempt(
            f'features {precision}', partial(check_features, precision, on_device, batches, features, findings)
        )
    findings.attempt('k-NN', partial(check_knn, features, labels, options.device, findings))
    findings.attempt('propagation', partial(check_propagation, on_cpu, on_device, options, findings))


def labelled_images(options: argparse.Namespace) -> list:
    """Batches of pixels and labels. With folders of the user's, the name of its folder is the label of an image."""
    size = size_of(options)
    pipeline = [ResizeCentreCrop(size.global_size, size.global_size), PackImage()]
    dataset = ImageDataset(image_folder(options), pipeline=[])
    folders = sorted({info['img_path'].rsplit('/', 1)[0] for info in map(dataset.get_data_info, range(len(dataset)))})
    samples = []
    for index in range(0, len(dataset), max(1, len(dataset) // size.num_images)):
        sample = LoadImage().transform(dataset.get_data_info(index))
        sample['gt_label'] = folders.index(sample['img_path'].rsplit('/', 1)[0])
        for transform in pipeline:
            sample = transform.transform(sample)
        samples.append(sample)
    return list(DataLoader(samples, batch_size=32, collate_fn=image_collate))


def check_features(
    precision: str, backbone: nn.Module, batches: Sequence, expected: Tensor, findings: Findings
) -> None:
    """Of all images, against those of the CPU in fp32."""
    dtype, most = FEATURES[precision]
    found, _ = extract_features(backbone, batches, autocast_dtype=dtype)
    gap = relative_gap([found.cpu()], [expected])
    detail = f'{len(found)} images, {gap:.1e} from those of the CPU in fp32 (at most {most:.0e})'
    findings.check(f'features {precision}', gap <= most, detail, gap=gap)


def check_knn(features: Tensor, labels: Tensor, device: str, findings: Findings) -> None:
    """The same features on both sides, every second image being a query."""
    bank, queries, known = features[::2], features[1::2], labels[::2]
    ks = [min(k, len(bank)) for k in KS]
    expected = knn_predict(bank, known, queries, ks, TEMPERATURE)
    found = knn_predict(bank.to(device), known.to(device), queries.to(device), ks, TEMPERATURE)
    wrong = close = 0
    for k in set(ks):
        for query in (found[k][:, 0].cpu() != expected[k][:, 0]).nonzero()[:, 0].tolist():
            votes = votes_by_formula(bank, known, queries[query], k)
            mine, right = votes[found[k][query, 0].item()], votes[expected[k][query, 0].item()]
            close += bool(mine >= right * (1 - CLOSE))
            wrong += not mine >= right * (1 - CLOSE)
    detail = f'{len(queries)} queries, k = {ks}: {wrong} other classes than on the CPU, {close} more with equal votes'
    findings.check('k-NN', not wrong, detail, wrong=wrong, equal_votes=close)


def votes_by_formula(bank: Tensor, labels: Tensor, query: Tensor, k: int) -> Tensor:
    """Of one query for each class, in double precision."""
    similarities = torch.cosine_similarity(bank.double(), query.double()[None], dim=1)
    nearest = similarities.topk(k)
    votes = torch.zeros(int(labels.max()) + 1, dtype=torch.double)
    return votes.index_add_(0, labels[nearest.indices], (nearest.values / TEMPERATURE).exp())


def check_propagation(on_cpu: nn.Module, on_device: nn.Module, options: argparse.Namespace, findings: Findings) -> None:
    """Labels of the same features on both sides; then masks, each side with features of its own."""
    side = size_of(options).clip_side
    clip = DAVISDataset(bundled('davis'), year=2016, split=None).clips[0]
    images = [clip.read_frame(index) for index in range(FRAMES)]
    features = torch.stack(list(stream_patches(on_cpu, images, side, multiple=16)))
    labels = labels_of_mask(clip.read_mask(0), clip.objects, *features.shape[1:3])
    propagator = LabelPropagator()
    expected = torch.stack(list(propagator(iter(features), labels)))
    found = torch.stack(list(propagator(iter(features.to(options.device)), labels.to(options.device)))).cpu()
    best = expected.topk(2, dim=-1).values
    clear = best[..., 0] - best[..., 1] > CLOSE
    wrong = int(((found.argmax(dim=-1) != expected.argmax(dim=-1)) & clear).sum())
    gap = float((found - expected).abs().max())
    detail = f'{wrong} of {clear.numel()} patches with another label than on the CPU, shares {gap:.1e} apart'
    findings.check('propagation', not wrong and gap < 1e-3, detail, wrong=wrong, gap=gap)
    masks = [list(islice(segment_clip(net, clip, short_side=side, multiple=16), FRAMES)) for net in (on_cpu, on_device)]
    other = sum(int((a != b).sum()) for a, b in zip(*masks)) / sum(mask.size for mask in masks[0])
    detail = f'{other:.2%} of the pixels of {FRAMES} masks differ from the CPU (at most {PIXELS:.0%})'
    findings.check('masks', other <= PIXELS, detail, share=other)
