"""The recipe `auto`, what depends on folders and machine: images, k-NN, workers, precision, split, and the time."""

from collections.abc import Sequence

from dino_plugin.commands.auto_recipe import NOT_MEASURED, Choice
from dino_plugin.commands.auto_rules import FEWEST, HELD_OUT, SPEED_ON_CPU, TOO_MANY, Recipe
from dino_plugin.commands.machine import Facts
from dino_plugin.data.views.split_of_work import FEWEST_CORES

LONG = 8  # hours
_DATASET = '_base_.train_dataloader.dataset.dataset'
_KNN_OF_THE_BASE = "__knn = next(hook for hook in _base_.custom_hooks if hook.type == 'dino_plugin.KNNHook')"
_PART = f"""\
def __part(held_out, dataset):
    return dict(type='dino_plugin.HeldOutSplit', held_out=held_out, share={HELD_OUT}, seed=0, dataset=dataset)"""


def choices_of_machine(facts: Facts, recipe: Recipe, folders: Sequence[str]) -> list[Choice]:
    """The other choices of a recipe for images in these folders."""
    gpus = facts.gpus
    return [
        _images(facts, folders),
        _knn(facts, recipe, folders),
        Choice(
            'workers',
            str(recipe.workers),
            f'one for each core, {facts.cores} for all GPUs, up to 8 as in the presets' if gpus
            else 'the cores have the network to compute; measured on two cores (docs/small_data.md)',
            (f'_base_.train_dataloader.num_workers = {recipe.workers}',),
        ),
        Choice(
            'precision',
            'auto' if gpus else 'fp32',
            f'bf16 where the GPU has it; {NOT_MEASURED}' if gpus else 'as measured (docs/small_data.md)',
            ("_base_.optim_wrapper.precision = 'auto'",) if gpus else (),
        ),
        _split(facts, recipe),
        _time(facts, recipe),
    ]  # fmt: skip


def _images(facts: Facts, folders: Sequence[str]) -> Choice:
    root = folders[0] if len(folders) == 1 else list(folders)
    return Choice('images', f'{facts.images:,}', 'listed, not read', (f'{_DATASET}.data_root = {root!r}',))


def _knn(facts: Facts, recipe: Recipe, folders: Sequence[str]) -> Choice:
    tiny = recipe.kind == 'tiny'
    if not recipe.held_out:
        reason = _why_not(facts)
        return Choice('k-NN', 'none', reason, (_KNN_OF_THE_BASE, '_base_.custom_hooks.remove(__knn)') if tiny else ())
    queries, interval = facts.images - recipe.trained_on, max(1, recipe.epochs // 10)
    resize = recipe.side if tiny else recipe.side * 8 // 7
    lines = (
        _PART,
        *((_KNN_OF_THE_BASE, '__loader = __knn.bank') if tiny else ("__loader = _base_.pop('labelled_images')",)),
        f'__loader.num_workers = {recipe.workers}',
        f'__loader.dataset.data_root = {folders[0]!r}',
        f'__loader.dataset.pipeline[1].update(resize={resize}, crop={recipe.side})',
        f'{_DATASET}.with_labels = True  # to keep the same images aside; no label is trained on',
        f'{_DATASET} = __part(False, {_DATASET})',
        *(() if tiny else ("__knn = dict(type='dino_plugin.KNNHook')", '_base_.custom_hooks.append(__knn)')),
        '__bank, __queries = (dict(__loader, dataset=__part(held, __loader.dataset)) for held in (False, True))',
        f"__knn['bank'], __knn['queries'], __knn['interval'] = __bank, __queries, {interval}",
    )
    reason = (
        f'a tenth of each of {facts.classes:,} class folders is kept aside; {queries:,} images, standard error up to'
    )
    return Choice('k-NN', f'every {interval} epochs', f'{reason} {50 / queries**0.5:.1f} points', lines)


def _why_not(facts: Facts) -> str:
    if not facts.classes:
        return 'the images are not in class folders'
    if facts.images >= TOO_MANY:
        return f'of {TOO_MANY:,} images and more it takes too long; afterwards: tools/test.py with knn/knn_folder.py'
    return f'{facts.classes:,} subfolders with fewer than {FEWEST} images each are taken for no classes'


def _split(facts: Facts, recipe: Recipe) -> Choice:
    if recipe.kind == 'tiny':
        return Choice('split of the views', 'worker', 'the whole view in a worker, as measured (docs/small_data.md)')
    reason = f'the GPU makes colours; one with fewer than {FEWEST_CORES} cores also cuts and resizes; {NOT_MEASURED}'
    return Choice('split of the views', 'auto', reason)


def _time(facts: Facts, recipe: Recipe) -> Choice:
    hours = recipe.hours
    if hours is None:
        return Choice('time', 'unknown', f'no speed is known for this network on a GPU; {NOT_MEASURED}')
    value = f'{hours * 60:.0f} minutes' if hours < 2 else f'{hours:.0f} hours'
    if hours >= 48:
        value = f'{hours / 24:.0f} days'
    if not facts.gpus:
        cores = 'two cores' if recipe.side == 32 else 'one core'
        reason = f'{SPEED_ON_CPU[recipe.side]} images a second on {cores} of 2.5 GHz (header of the preset)'
        return Choice('time', value, reason + ('; fewer images, or a GPU, take less' if hours > LONG else ''))
    return Choice('time', value, f"at the speed of DINO's code on V100 GPUs, from its README; {NOT_MEASURED} here")
