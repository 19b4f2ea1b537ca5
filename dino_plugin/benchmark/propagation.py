"""One frame of a video: labels carried to it from eight frames before, as in DAVIS."""

import argparse
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from dino_plugin.benchmark.harness import Candidate, time_call
from dino_plugin.benchmark.reference import Reference
from dino_plugin.benchmark.report import Report
from dino_plugin.evaluation.video.propagation import LabelPropagator

NUM_CONTEXT, RADIUS, TOP_K, TEMPERATURE = 7, 12, 5, 0.1  # of facebookresearch/dino's command
NUM_CHECKED = 64  # patches, by the plain formula


class Video(NamedTuple):
    """Nine frames; the last has all its context. The labels are those of all frames but the last."""

    features: Tensor  # frames rows columns dim
    labels: Tensor  # frames rows columns objects


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """Each grid by itself."""
    for grid in options.grids:
        patch, _, sides = grid.partition('=')
        rows, columns = (int(side) for side in sides.split('x'))
        _run_grid(report, reference, patch, *make_video(options, rows, columns))


def make_video(options: argparse.Namespace, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Random features of nine frames and labels of the first, alike in neighbouring patches and frames."""
    generator = torch.Generator().manual_seed(rows)

    def smooth(channels: int) -> Tensor:
        coarse = torch.randn(1, channels, -(-rows // 6), -(-columns // 6), generator=generator)
        return interpolate(coarse, (rows, columns), mode='bicubic')[0].permute(1, 2, 0)

    scene = smooth(options.dim)
    frames = [scene.roll(number // 2, dims=1) for number in range(NUM_CONTEXT + 2)]
    noisy = [frame + 0.5 * torch.randn(frame.shape, generator=generator) for frame in frames]
    labels = (4 * smooth(options.objects)).softmax(dim=-1)
    return torch.stack(noisy).to(options.device), labels.to(options.device)


def _run_grid(report: Report, reference: Reference | None, patch: str, features: Tensor, first_labels: Tensor) -> None:
    device = report.options.device
    clock = 'cpu' if device == 'cpu' else 'wall'
    baseline = f'reference_{patch}'
    name = f'propagation_{patch}'
    propagator = LabelPropagator(NUM_CONTEXT, RADIUS, 'square', TOP_K, TEMPERATURE)
    labels = torch.stack([first_labels, *propagator(features, first_labels)])
    video, found = Video(features, labels[:-1]), labels[-1]
    _check_plain(report, name, video, found)
    frames = _endless(propagator, features, first_labels)
    candidates = [Candidate(name, lambda _: next(frames), 'ours: LabelPropagator')]
    if reference:
        theirs = ReferencePropagation(reference, device, video)
        once = getattr(time_call(lambda _: theirs(), 0, torch.device(device)), clock)
        expected = theirs()
        report.extra.setdefault('reference_seconds_with_mask', {})[patch] = once
        candidates.insert(0, Candidate(baseline, lambda _: theirs(), 'label_propagation, its mask given'))
        _check_reference(report, name, found, expected)
        report.say(
            f'Patches of {patch}: of each video the reference spends {once:.2g} s on one frame, making its mask.'
        )
    title = f'Patches of {patch}: a grid of {features.shape[1]} x {features.shape[2]}, {1 + NUM_CONTEXT} of context'
    report.compare(title, candidates, device, unit='frame', clock=clock, baseline=baseline)


def _endless(propagator: LabelPropagator, features: Tensor, first_labels: Tensor) -> Iterator[Tensor]:
    """Labels of frame after frame of a film without end, from the first that has all its context."""
    frames = propagator(itertools.chain(features[:1], itertools.cycle(features[1:])), first_labels)
    return itertools.islice(frames, NUM_CONTEXT, None)


class ReferencePropagation:
    """``label_propagation`` of the reference, its network put out of the way, its mask made at the first call only.

    Args:
        reference: The checkout.
        device: Where it runs.
        video: Frames and labels.
    """

    def __init__(self, reference: Reference, device: str, video: Video) -> None:
        self.reference = reference
        self.device = device
        self.code = reference.module('eval_video_segmentation')
        self.code.args = SimpleNamespace(size_mask_neighborhood=RADIUS, topk=TOP_K, n_last_frames=NUM_CONTEXT)
        *context, target = video.features
        rows, columns, dim = target.shape
        tokens = torch.cat([target.new_zeros(1, dim), target.reshape(-1, dim)])[None]
        self.network = SimpleNamespace(
            get_intermediate_layers=lambda frame, n: [tokens], patch_embed=SimpleNamespace(patch_size=1)
        )
        self.frame = torch.empty(3, rows, columns)
        self.features = [frame.reshape(-1, dim).T for frame in context]
        self.labels = [frame.permute(2, 0, 1)[None] for frame in video.labels]
        self.mask: Tensor | None = None

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """Labels of the last frame, ``rows columns objects``."""
        with self.reference.running_on(self.device):
            labels, _, self.mask = self.code.label_propagation(
                self.code.args, self.network, self.frame, self.features, self.labels, self.mask
            )
        return labels[0].permute(1, 2, 0)


def _check_reference(report: Report, name: str, found: Tensor, expected: Tensor) -> None:
    different = found.argmax(dim=-1) != expected.argmax(dim=-1)
    best = expected.topk(2, dim=-1).values
    different &= best[..., 0] - best[..., 1] > 1e-5  # what is equal but for rounding may fall to either side
    gap = float((found - expected).abs().max())
    detail = (
        f'{int(different.sum())} of {different.numel()} patches with another label than the reference, {gap:.1e} apart'
    )
    report.check(name, not different.any() and gap < 1e-3, detail)


def _check_plain(report: Report, name: str, video: Video, found: Tensor) -> None:
    """Some patches by the formula: all similarities, those from far away left out, softmax over the best."""
    rows, columns, objects = found.shape
    *context, target = normalize(video.features, dim=-1)
    context = torch.stack(context)
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(found.device)
    gap = 0.0
    for number in torch.linspace(0, len(places) - 1, NUM_CHECKED).long():
        row, column = places[number]
        near = (places - places[number]).abs().amax(dim=1) <= RADIUS
        similarities = (context @ target[row, column]).flatten(1)[:, near].flatten()
        values, order = similarities.topk(TOP_K)
        labels = video.labels.flatten(1, 2)[:, near].reshape(-1, objects)[order]
        expected = (values / TEMPERATURE).softmax(dim=0) @ labels
        gap = max(gap, float((found[row, column] - expected).abs().max()))
    report.check(name, gap < 1e-4, f'{NUM_CHECKED} patches within {gap:.1e} of the plain formula')
