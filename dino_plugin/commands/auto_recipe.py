"""The recipe `auto` in words and as lines of a config: what learns, from which views, for how long, and why."""

from dataclasses import dataclass

from dino_plugin.commands.auto_rules import BASES, LABELLED, TINY_SIDE, Recipe
from dino_plugin.commands.machine import Facts

NOT_MEASURED = 'not measured'
_SMALL = 'docs/small_data.md'
_README = 'README of facebookresearch/dino'
_TRAIN = '_base_.train_dataloader'


@dataclass(frozen=True)
class Choice:
    """One choice of the recipe.

    Attributes:
        name: What is chosen.
        value: As text.
        reason: Why, and where the rule comes from; it says so if nothing was measured.
        lines: Of the config; none if its base has the value already.
    """

    name: str
    value: str
    reason: str
    lines: tuple[str, ...] = ()


def choices_of_method(facts: Facts, recipe: Recipe) -> list[Choice]:
    """Preset, views, batches, targets and length; the first choice names the base of the config."""
    return [
        _preset(facts, recipe),
        _views(facts, recipe),
        *_batches(facts, recipe),
        _rate(recipe),
        *_targets(recipe),
        _length(recipe),
    ]


def _rate(recipe: Recipe) -> Choice:
    reason = dict(
        tiny=f'1.2e-3 for 64 images of a step ({_SMALL}), in proportion' + _unless(recipe.total == 64),
        few=f'5e-4 for 64 images of a step (the preset), in proportion; {NOT_MEASURED}',
        many=f"DINO's rule, 5e-4 for 256 images of a step ({_README})",
    )[recipe.kind]
    return Choice('learning rate', f'{recipe.rate:.3g}', reason, (_scaling(recipe),))


def _targets(recipe: Recipe) -> list[Choice]:
    prototypes = dict(
        tiny=f'one for about ten images, 512 or more; 512 and 1,024 worked ({_SMALL})'
        + _unless(recipe.prototypes <= 1024),
        few=f'one for about ten images, 512 or more (the preset); {NOT_MEASURED} with this network',
        many=f"DINO's ({_README})",
    )[recipe.kind]
    temperature = dict(
        tiny=f'sharp targets, as measured ({_SMALL})',
        few=f"by the number of images between 0.025 and DINO's (the preset); {NOT_MEASURED}",
        many=f"DINO's vanilla run ({_README})",
    )[recipe.kind]
    momentum = dict(
        tiny=f'a fast teacher for a short training ({_SMALL})',
        few=f"by the number of images between 0.99 and DINO's (the preset); {NOT_MEASURED}",
        many=f"DINO's, for 512 images of a step or more ({_README})",
    )[recipe.kind]
    temperatures = ' to '.join(f'{value:.3g}' for value in dict.fromkeys(recipe.temperature))
    return [
        Choice('prototypes', f'{recipe.prototypes:,}', prototypes, _prototypes(recipe)),
        Choice('teacher temperature', temperatures, temperature),
        Choice('teacher momentum', f'{recipe.momentum:.3g} to 1', momentum),
    ]


def _length(recipe: Recipe) -> Choice:
    steps = recipe.trained_on // recipe.total * recipe.epochs
    reason = dict(
        tiny=f'with 1,716, k-NN still rose ({_SMALL}); 1 epoch or more, 200 or fewer' + _unless(1200 < steps < 1900),
        few=f'the length of the preset; {NOT_MEASURED}',
        many=f"the length of DINO's vanilla run ({_README})",
    )[recipe.kind]
    lines = (f'_base_.train_cfg.max_epochs = {recipe.epochs}',)
    return Choice('epochs', f'{recipe.epochs:,}', f'{steps:,} steps; {reason}', lines)


def _preset(facts: Facts, recipe: Recipe) -> Choice:
    value, reason = dict(
        tiny=(
            'DINO, a ViT of width 128 and depth 2 with a convolutional stem',
            f'{f"images below {TINY_SIDE} px" if facts.gpus else "no GPU"}: it learnt in minutes from 5,000 and from '
            '9,469 images, k-NN 34 to 51 % and 42 to 63 % (docs/results.md)'
            + _unless(not facts.gpus, ' on a GPU')
            + _unless(5_000 <= facts.images <= 10_000, f' with {facts.images:,}'),
        ),
        few=(
            'DINO for little data, ViT-S/16',
            'fewer than 200,000 images: with centring and no batch norm a smaller network learnt nothing from 9,469 '
            f'(header of the preset); {NOT_MEASURED} with this one',
        ),
        many=('DINO, ViT-S/16', f"200,000 images or more: the authors' recipe, k-NN 69.3 % on ImageNet ({_README})"),
    )[recipe.kind]
    bases = [BASES[recipe.kind], *([LABELLED] if recipe.held_out and recipe.kind == 'few' else [])]
    names = ''.join(f"    'dino_plugin::{name}',\n" for name in bases)
    return Choice('preset', value, reason, (f'_base_ = [\n{names}]',))


def _unless(measured: bool, what: str = '') -> str:
    return '' if measured else f'; {NOT_MEASURED}{what}'


def _views(facts: Facts, recipe: Recipe) -> Choice:
    side, sizes = recipe.side, f'global_size={recipe.side}, local_size={recipe.local_side}'
    if recipe.kind == 'tiny':
        sizes += f', local_scale=({0.2 if side == 32 else 0.1}, 0.4)'
        reason = f'images of {facts.side} px; 32 px for those below 48 px, else 48 px, as measured ({_SMALL})'
    else:
        reason = f"images of {facts.side} px; as large as they are, up to DINO's 224 px"
        reason += f'; {NOT_MEASURED} below' if side < 224 else ''
    lines = (f'_base_.model.backbone.img_size = {side}', f'{_TRAIN}.dataset.dataset.pipeline[1].update({sizes})')
    return Choice('views', f'{side} px, local ones {recipe.local_side} px', reason, lines)


def _batches(facts: Facts, recipe: Recipe) -> list[Choice]:
    many = recipe.kind == 'many'
    most = 'up to 128, and 1,024 for a step' if many else '64 for a step, 16 or more for a GPU'
    reason = f'{most}, as the preset; four steps an epoch at least'
    if recipe.kind != 'tiny':
        reason += f'; {facts.gpu_memory:.0f} GB hold it, as 64 take 19.5 GB in fp16 (facebookresearch/dino#69)'
    step = f'{recipe.total} images for a step; ' + ('512 gave the 69.3 %' if many else "64 are the preset's")
    lines = f'{_TRAIN}.batch_size = {recipe.batch}', f'_base_.optim_wrapper.accumulative_counts = {recipe.accumulated}'
    return [
        Choice('batch on each GPU' if facts.gpus else 'batch', str(recipe.batch), reason, lines[:1]),
        Choice('batches before a step', str(recipe.accumulated), step, lines[1:]),
    ]


def _prototypes(recipe: Recipe) -> tuple[str, ...]:
    return dict(
        tiny=(f'_base_.model.heads.cls.prototypes = {recipe.prototypes}',),
        few=(f'_base_.model.num_images = {recipe.trained_on}  # prototypes, temperature and momentum follow',),
        many=(),
    )[recipe.kind]


def _scaling(recipe: Recipe) -> str:
    """mmengine's rule counts the images of one batch, without those of the others before a step."""
    base = (64 if recipe.kind == 'tiny' else 256) // recipe.accumulated
    return f'_base_.auto_scale_lr = dict(enable=True, base_batch_size={base})'
