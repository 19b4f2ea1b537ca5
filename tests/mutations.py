"""Break central lines of the package, one at a time, and see a test fail: python tests/mutations.py [--only TEXT]

Each line below is replaced by a wrong one in a copy of the checkout, and its tests run there. A line whose change no
test notices is reported, and the command fails. Not part of the suite: it takes some minutes.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
COPIED = ('configs', 'dino_plugin', 'tests', 'tools', 'pyproject.toml', 'setup.cfg', 'setup.py')


class Mutation(NamedTuple):
    """A right piece of code, once in its file, a wrong one for it, and the tests that have to see it."""

    file: str
    right: str
    wrong: str
    tests: str


MUTATIONS = [
    # losses
    Mutation('core/losses/dino.py', 'if number != view)', 'if True)', 'core/test_losses.py'),
    Mutation('core/losses/dino.py', 'num_teacher * local_weight)', 'num_teacher)', 'core/test_losses.py'),
    Mutation('core/losses/soft_targets.py', 'mul_(1 / temperature)', 'mul_(temperature)', 'core/test_soft_targets.py'),
    Mutation('core/losses/compared_patches.py', '(num_images * num_', '(num_', 'core/test_ibot.py'),
    Mutation('core/losses/coding_rate.py', 'dim / (number', 'number / (dim', 'core/test_alignment.py'),
    Mutation(
        'engine/training/resumed_options.py',
        'saved[name] * now / before if before else now',
        'saved[name]',
        'engine/training/test_resumed_options.py',
    ),
    Mutation(
        'evaluation/text/contrastive.py',
        'self.log_scale.clamp_(',
        'self.log_scale.clamp(',
        'evaluation/text/test_contrastive.py',
    ),
    Mutation('core/losses/sigreg.py', 'parts[1].square()', 'parts[1]', 'core/test_sigreg.py'),
    Mutation('core/losses/koleo.py', 'fill_(-2.0)', 'fill_(2.0)', 'core/test_losses.py'),
    Mutation('core/losses/gram.py', 'anchor @ anchor.mT', 'student @ anchor.mT', 'core/test_gram.py'),
    # targets, heads, masks, schedules
    Mutation('core/targets.py', 'scores - self.center', 'scores + self.center', 'core/test_targets.py'),
    Mutation(
        'core/targets.py',
        'lerp(batch_mean, self.center.to(batch_mean.dtype)',
        'lerp(self.center.to(batch_mean.dtype), batch_mean',
        'core/test_targets.py',
    ),
    Mutation('core/targets.py', 'range(iterations)', 'range(1)', 'core/test_targets.py'),
    Mutation('core/heads.py', 'nn.init.ones_(magnitude)', 'nn.init.zeros_(magnitude)', 'core/test_heads.py'),
    Mutation('core/heads.py', 'tokens[..., : self.read]', 'tokens[..., -self.read :]', 'core/test_heads.py'),
    Mutation('core/masking.py', 'missing -= num_new * fits', 'missing -= num_new', 'core/test_masking.py'),
    Mutation('core/masking.py', 'height = (size / width).ceil()', 'pass', 'core/test_masking.py'),
    Mutation(
        'core/masking.py', 'torch.randint(columns, (number, 1)', 'torch.randint(3, (number, 1)', 'core/test_masking.py'
    ),
    Mutation(
        'core/schedules.py',
        '(self.start - self.end) * (1 +',
        '(self.start - self.end) * (1 -',
        'core/test_schedules.py',
    ),
    # the teacher
    Mutation(
        'core/distillation.py', '1.0 - self.momentum(progress)', 'self.momentum(progress)', 'core/test_distillation.py'
    ),
    # data
    Mutation('data/preprocessor.py', '.div_(self.std)', '.mul_(self.std)', 'data_pipeline/test_preprocessor.py'),
    Mutation('data/mmcv_transforms.py', "'bgr') == 'rgb'", "'rgb') == 'rgb'", 'data_pipeline/test_mmcv_transforms.py'),
    Mutation(
        'data/collate.py', '* rows * columns).long()', '* rows * rows).long()', 'data_pipeline/test_masked_collate.py'
    ),
    Mutation('data/images/sampler.py', 'self.seed + self.epoch', 'self.seed', 'data_pipeline/images/test_sampler.py'),
    # training
    Mutation('engine/training/parameter_groups.py', 'decay**distance', 'decay', 'engine/training/test_optim.py'),
    Mutation(
        'engine/training/parameter_groups.py',
        'parameter.ndim > 1',
        'parameter.ndim > 0',
        'engine/training/test_optim.py',
    ),
    Mutation(
        'engine/training/optim_wrapper.py',
        '(norms + 1e-6)).clamp(max=1.0)',
        '(norms + 1e-6))',
        'engine/training/test_optim.py',
    ),
    # evaluation
    Mutation(
        'evaluation/classification/knn.py',
        '/ temperature).exp()',
        '* temperature).exp()',
        'evaluation/classification/test_knn.py',
    ),
    Mutation(
        'evaluation/video/propagation.py',
        '1 + (number - 1) % self',
        '(number - 1) % self',
        'evaluation/video/test_propagation.py',
    ),
    Mutation('evaluation/video/scores.py', '/ num_found', '/ num_truth', 'evaluation/video/test_scores.py'),
    Mutation(
        'evaluation/without_labels/neighbour_agreement.py',
        'return numbers[~itself].view(len(features), k)',
        'return numbers[:, :k]',
        'evaluation/test_neighbour_agreement.py',
    ),
    Mutation(
        'engine/training/before_after.py',
        '2 * math.hypot',
        'math.hypot',
        'engine/training/test_before_after.py',
    ),
    Mutation('core/kept_outputs.py', 'size + image.tobytes()', 'image.tobytes()', 'core/test_kept_outputs.py'),
    Mutation(
        'engine/distributed/mean_log.py',
        'values[:] = np.where',
        'values = np.where',
        'engine/distributed/test_mean_log.py',
    ),
    Mutation('evaluation/depth/losses.py', '(errors - mean).where', 'errors.where', 'evaluation/depth/test_depth.py'),
    Mutation('evaluation/text/retrieval.py', "'amax'", "'amin'", 'evaluation/text/test_text.py'),
    Mutation('evaluation/text/segmenter.py', 'number[place] += 1', 'number += 1', 'evaluation/text/test_text.py'),
    Mutation('evaluation/clips/probe.py', 'sqrt(2 * number)', 'sqrt(number)', 'evaluation/clips/test_probe.py'),
    Mutation(
        'evaluation/detection/box_bias.py',
        'centres + sizes / 2]',
        'centres - sizes / 2]',
        'evaluation/detection/test_boxes.py',
    ),
    # several machines, images in shards, memory
    Mutation(
        'commands/runner.py',
        'if wish[0]), wishes[0])',
        'if not wish[0]), wishes[0])',
        'engine/training/test_latest_checkpoint.py',
    ),
    Mutation(
        'data/sources/index_writing.py',
        'member.offset, member.size))',
        'member.offset + 1, member.size))',
        'curation/test_curate_tool.py',
    ),
    Mutation(
        'backbones/recomputation.py',
        'cache_enabled(False)',
        'cache_enabled(True)',
        'backbones/test_recomputation.py',
    ),
    # weights
    Mutation('weights/safe_loading.py', 'weights_only=True)', 'weights_only=False)', 'weights/test_checkpoint.py'),
    Mutation('weights/strict_loading.py', 'if wanted[0] == wanted[1]', 'if True', 'weights/test_positions.py'),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', default='', help='the mutations whose file holds this text')
    chosen = [mutation for mutation in MUTATIONS if parser.parse_args().only in mutation.file]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = REPOSITORY / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, copy / name)
        if failed := first_failure(copy, {mutation.tests for mutation in chosen}):
            raise SystemExit(f'{failed} fails on the right lines already: mend that first.')
        survivors = [mutation for mutation in chosen if not noticed(mutation, copy)]
    print(f'{len(chosen) - len(survivors)} of {len(chosen)} wrong lines were noticed')
    if survivors:
        raise SystemExit('not noticed:\n' + '\n'.join(f'{file}: {wrong}' for file, _, wrong, _ in survivors))


def noticed(mutation: Mutation, copy: Path) -> bool:
    """Whether a test fails on the wrong line; the copy is right again afterwards."""
    file = copy / 'dino_plugin' / mutation.file
    content = file.read_text()
    if (found := content.count(mutation.right)) != 1:
        raise SystemExit(f'{mutation.file} holds {mutation.right!r} {found} times, not once: name another piece of it.')
    file.write_text(content.replace(mutation.right, mutation.wrong))
    started = time.perf_counter()
    failed = first_failure(copy, {mutation.tests})
    file.write_text(content)
    seconds = time.perf_counter() - started
    print(f'{mutation.file}: {mutation.wrong}\n    {failed or "no test failed"} ({seconds:.0f} s)', flush=True)
    return failed is not None


def first_failure(copy: Path, tests: Iterable[str]) -> str | None:
    """The first of these tests that fails, or None."""
    command = [sys.executable, '-m', 'pytest', '-x', '-q', '-p', 'no:cacheprovider']
    run = subprocess.run(
        [*command, *(f'tests/{name}' for name in sorted(tests))],
        cwd=copy,  # comes first on Python's path: the package is the copy's
        env={**os.environ, 'PYTHONPATH': str(copy), 'PYTHONDONTWRITEBYTECODE': '1'},
        capture_output=True,
        text=True,
    )
    failures = [line.split(' - ')[0] for line in run.stdout.splitlines() if line.startswith(('FAILED', 'ERROR'))]
    if run.returncode not in (0, 1) or (run.returncode == 1) != bool(failures):
        raise SystemExit(f'pytest ended with {run.returncode}:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}')
    return failures[0] if failures else None


if __name__ == '__main__':
    main()
