"""One frame of a video: labels carried to it from eight frames before, as in DAVIS."""

import argparse
import itertools
from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from benchmark.reference import Reference
from benchmark.report import Candidate, Report
from dino_plugin.evaluation.video.propagation import LabelPropagator

NUM_CONTEXT, RADIUS, TOP_K, TEMPERATURE = 7, 12, 5, 0.1  # of facebookresearch/dino's command
NUM_CHECKED = 64  # patches, by the plain formula


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """Each grid by itself: the last of nine frames, which has all its context."""
    for grid in options.grids:
        patch, _, sides = grid.partition('=')
        name, (rows, columns) = f'propagation_{patch}', map(int, sides.split('x'))
        features, first_labels = make_video(options, rows, columns)
        propagator = LabelPropagator(NUM_CONTEXT, RADIUS, 'square', TOP_K, TEMPERATURE)
        labels = torch.stack([first_labels, *propagator(features, first_labels)])
        _check_plain(report, name, features, labels)
        film = propagator(itertools.chain(features[:1], itertools.cycle(features[1:])), first_labels)
        frames = itertools.islice(film, NUM_CONTEXT, None)  # without end, from the first that has all its context
        candidates = [Candidate('propagation', lambda _, frames=frames: next(frames), 'ours: LabelPropagator')]
        if reference:
            theirs = reference_propagation(reference, options.device, features, labels)
            _check_reference(report, name, labels[-1], theirs())
            note = 'label_propagation, its mask given'
            candidates.insert(0, Candidate('reference', lambda _, theirs=theirs: theirs(), note))
        title = f'Patches of {patch}: a grid of {rows} x {columns}, {1 + NUM_CONTEXT} frames of context'
        report.compare(name, title, 'frame', candidates)


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


def reference_propagation(reference: Reference, device: str, features: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    """``label_propagation`` of the reference to the last frame, its network put out of the way.

    Its mask is made at the first call only, as for each video. The result is ``rows columns objects``.
    """
    code = reference.eval_video_segmentation
    code.args = SimpleNamespace(size_mask_neighborhood=RADIUS, topk=TOP_K, n_last_frames=NUM_CONTEXT)
    *context, target = features
    rows, columns, dim = target.shape
    tokens = torch.cat([target.new_zeros(1, dim), target.reshape(-1, dim)])[None]
    network = SimpleNamespace(
        get_intermediate_layers=lambda frame, n: [tokens], patch_embed=SimpleNamespace(patch_size=1)
    )
    sources = [frame.reshape(-1, dim).T for frame in context]
    shares = [frame.permute(2, 0, 1)[None] for frame in labels[:-1]]
    masks: list[Tensor | None] = [None]

    @torch.no_grad()
    def propagate() -> Tensor:
        with reference.running_on(device):
            frame = torch.empty(3, rows, columns)
            found, _, masks[0] = code.label_propagation(code.args, network, frame, sources, shares, masks[0])
        return found[0].permute(1, 2, 0)

    return propagate


def _check_reference(report: Report, name: str, found: Tensor, expected: Tensor) -> None:
    different = found.argmax(dim=-1) != expected.argmax(dim=-1)
    best = expected.topk(2, dim=-1).values
    different &= best[..., 0] - best[..., 1] > 1e-5  # what is equal but for rounding may fall to either side
    gap, wrong = float((found - expected).abs().max()), int(different.sum())
    detail = f'{wrong} of {different.numel()} patches with another label than the reference, {gap:.1e} apart'
    report.check(name, not wrong and gap < 1e-3, detail)


def _check_plain(report: Report, name: str, features: Tensor, labels: Tensor) -> None:
    """Some patches of the last frame by the formula: all similarities from nearby, softmax over the best."""
    *context, target = normalize(features, dim=-1)
    rows, columns, objects = labels[-1].shape
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(labels.device)
    gap = 0.0
    for number in torch.linspace(0, len(places) - 1, NUM_CHECKED).long():
        row, column = places[number]
        near = (places - places[number]).abs().amax(dim=1) <= RADIUS
        similarities = (torch.stack(context) @ target[row, column]).flatten(1)[:, near].flatten()
        values, order = similarities.topk(TOP_K)
        sources = labels[:-1].flatten(1, 2)[:, near].reshape(-1, objects)[order]
        expected = (values / TEMPERATURE).softmax(dim=0) @ sources
        gap = max(gap, float((labels[-1, row, column] - expected).abs().max()))
    report.check(name, gap < 1e-4, f'{NUM_CHECKED} patches within {gap:.1e} of the plain formula')
