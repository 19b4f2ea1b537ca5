"""A plan as tables and plain sentences."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table

NAMES = dict(
    data_parallel='a copy on each GPU', sharded='sharded over the GPUs', one_gpu='one GPU',
    student='student: weights', teacher='teacher: weights', others='anchors, frozen teachers, buffers',
    optimizer='state of the optimiser', gradients='gradients', copies='weights in half precision',
    activations='activations, at most', total='together',
)  # fmt: skip
COMPUTED = 'Computed from shapes, not measured on a GPU.'


def memory_table(plan: dict[str, Any]) -> Table:
    """GiB on each GPU, a column for each way to spread the model."""
    table = Table(title=f'Memory of each GPU in GiB, batch {plan["batch_per_gpu"]}')
    table.add_column('')
    for way in plan['memory']:
        table.add_column(NAMES[way], justify='right')
    for part in next(iter(plan['memory'].values())):
        table.add_row(NAMES[part], *(f'{memory[part]:.1f}' for memory in plan['memory'].values()))
    table.add_section()
    table.add_row('largest batch that fits', *(str(batch) for batch in plan['largest_batch'].values()))
    return table


def sentences(plan: dict[str, Any], checkpointed: dict[str, Any] | None = None) -> Iterator[str]:
    """What it means.

    Args:
        plan: From `as_dict`.
        checkpointed: The same with activation checkpointing, if the recipe has none.
    """
    machine = plan['machine']
    yield (
        f'{plan["backbone_parameters"] / 1e6:,.1f} million parameters in the backbone; '
        f'{plan["operations_per_image"] / 1e12:,.3f} TFLOP for an image, {plan["operations_per_step"] / 1e15:,.3f} '
        f'PFLOP for a step of {plan["batch_per_gpu"] * machine["gpus"]:,} images.'
    )
    duration = 'give --num-images for the hours of the whole schedule.'
    if plan['hours'] is not None:
        duration = f'{plan["hours"]:,.1f} hours for the whole schedule, {plan["gpu_hours"]:,.0f} GPU hours.'
    yield (
        f'If it reaches {machine["utilisation"]:.0%} of {machine["tflops"]:g} TFLOP/s on each GPU: '
        f'{plan["images_per_second"]:,.0f} images a second; {duration}'
    )
    yield verdict(plan, checkpointed)
    yield COMPUTED


def verdict(plan: dict[str, Any], checkpointed: dict[str, Any] | None = None) -> str:
    """Whether it fits, and what makes it fit."""
    machine = plan['machine']
    usable = machine['memory'] - machine['reserve']
    needs = {way: memory['total'] for way, memory in plan['memory'].items()}
    room = f'{machine["memory"]:g} GiB, of which {machine["reserve"]:g} are kept free'
    fits = [f'{NAMES[way]} ({need:.1f} GiB)' for way, need in needs.items() if need <= usable]
    if len(fits) == len(needs):
        return f'It fits in {room}: {" or ".join(fits)}.'
    if fits:
        return f'In {room} it fits only {fits[0]}: needs {max(needs.values()):.1f} GiB otherwise.'
    return f'It does not fit in {room}: it needs {min(needs.values()):.1f}. {_cures(plan, checkpointed, usable)}'


def _cures(plan: dict[str, Any], checkpointed: dict[str, Any] | None, usable: float) -> str:
    cures = []
    if batch := max(plan['largest_batch'].values()):
        cures.append(f'a batch of {batch} on each GPU (--batch-size {batch})')
    if checkpointed is not None:
        least = min(memory['total'] for memory in checkpointed['memory'].values())
        whether = 'fits' if least <= usable else 'is not enough'
        cures.append(f'--checkpointing, which needs {least:.1f} GiB and {whether}')
    alone = plan['memory'].get('one_gpu')
    if alone and alone['total'] > 2 * alone['activations']:
        cures.append('more GPUs, among which the model is sharded (--gpus N)')
    return f'What helps: {"; ".join(cures)}.' if cures else 'Not even one image fits: more GPUs (--gpus N).'
