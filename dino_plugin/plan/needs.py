"""What a recipe needs on each GPU, what fits, and how long it takes: arithmetic over measured steps."""

from typing import Any, NamedTuple

from mmengine.config import Config

from dino_plugin.plan.example import Example, examples
from dino_plugin.plan.shapes import model_in_shapes
from dino_plugin.plan.step import Step, measured_step

GIB = 2**30


class Machine(NamedTuple):
    """Where the recipe is to run.

    Attributes:
        gpus: Their number.
        memory: Of each, in GiB.
        reserve: GiB of it for CUDA, NCCL and gaps between tensors. It is an assumption.
        tflops: Of each at its peak, 10^12 operations a second.
        utilisation: Share of the peak that the training reaches, in (0, 1]. It is an assumption.
    """

    gpus: int = 1
    memory: float = 80.0
    reserve: float = 4.0
    tflops: float = 989.0
    utilisation: float = 0.4


class Memory(NamedTuple):
    """Bytes on each GPU.

    Attributes:
        student: Weights.
        teacher: Weights.
        others: Anchors, frozen teachers, buffers.
        optimizer: Its state.
        gradients: And, in plain data parallelism, the buckets in which they are exchanged.
        copies: Of weights in half precision; under sharding the gathered ones.
        activations: The most that lives at once.
    """

    student: float
    teacher: float
    others: float
    optimizer: float
    gradients: float
    copies: float
    activations: float

    @property
    def gib(self) -> float:
        """Of all of it."""
        return sum(self) / GIB


class Measured(NamedTuple):
    """Steps of a recipe with its batch and with twice as many images, for each size of views.

    Attributes:
        batch: Images on each GPU.
        steps: Of each size: its share of the steps, its step, and the one with twice as many images.
    """

    batch: int
    steps: list[tuple[float, Step, Step]]

    def memory(self, gpus: int, sharded: bool, batch: int | None = None) -> Memory:
        """On each GPU, with the size of views that needs most; activations on a line through the measured ones."""
        step = self.steps[0][1]
        growth = (self.batch if batch is None else batch) / self.batch - 1
        activations = max(one.activations + growth * (two.activations - one.activations) for _, one, two in self.steps)
        activations = max(activations, step.student - step.gradients)  # when the teacher moves, they are gone
        parts = gpus if sharded else 1
        buckets = 1 if sharded or gpus == 1 else 2
        return Memory(
            student=step.student / parts,
            teacher=step.teacher / parts,
            others=step.others / parts,
            optimizer=step.optimizer / parts,
            gradients=buckets * step.gradients / parts,
            copies=step.gathered if sharded else step.copies,
            activations=activations,
        )

    def largest_batch(self, gpus: int, sharded: bool, gib: float) -> int:
        """Images on each GPU that this memory holds; 0 if one is too many."""
        if self.memory(gpus, sharded, 1).gib > gib:
            return 0
        low, high = 1, 2**20
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.memory(gpus, sharded, middle).gib <= gib else (low, middle)
        return low

    @property
    def operations(self) -> float:
        """For one image, forward and backward."""
        return sum(share * one.operations for share, one, _ in self.steps) / self.batch


def measured(cfg: Config, checkpointing: bool | None = None) -> Measured:
    """Build the model in shapes and run its steps.

    Args:
        cfg: Of a pretraining.
        checkpointing: Whether blocks are computed again in the backward pass; None: as the config says.

    Raises:
        TypeError: As `model_in_shapes`.
        ValueError: As `model_in_shapes`.
    """
    cfg = cfg.copy()
    if checkpointing is not None:
        cfg.merge_from_dict({'model.backbone.gradient_checkpointing': checkpointing})
    model = model_in_shapes(cfg)
    batch, wrapper = cfg.train_dataloader.batch_size, cfg.optim_wrapper.to_dict()

    def step(example: Example, images: int) -> Step:
        return measured_step(model, wrapper, example.of(images))

    found = examples(cfg, model.data_preprocessor)
    return Measured(batch, [(example.share, step(example, batch), step(example, 2 * batch)) for example in found])


def images_of_schedule(cfg: Config, gpus: int, num_images: int | None) -> float | None:
    """Images that the whole training sees, each as often as it does; None if nobody says how many there are."""
    if 'max_iters' in cfg.train_cfg:  # mmengine counts batches
        return cfg.train_cfg.max_iters * cfg.train_dataloader.batch_size * gpus
    number = num_images or cfg.model.get('num_images')
    return None if number is None else cfg.train_cfg.max_epochs * number


def as_dict(found: Measured, machine: Machine, images: float | None) -> dict[str, Any]:
    """All figures; memory in GiB."""
    step, gib = found.steps[0][1], machine.memory - machine.reserve
    speed = machine.gpus * machine.utilisation * machine.tflops * 1e12 / found.operations
    ways = dict(data_parallel=False, sharded=True) if machine.gpus > 1 else dict(one_gpu=False)
    memory = {way: found.memory(machine.gpus, sharded) for way, sharded in ways.items()}
    return dict(
        machine=machine._asdict(),
        batch_per_gpu=found.batch,
        backbone_parameters=step.parameters,
        operations_per_image=found.operations,
        operations_per_step=found.operations * found.batch * machine.gpus,
        memory={
            way: {name: size / GIB for name, size in parts._asdict().items()} | dict(total=parts.gib)
            for way, parts in memory.items()
        },
        largest_batch={way: found.largest_batch(machine.gpus, sharded, gib) for way, sharded in ways.items()},
        images_per_second=speed,
        hours=None if images is None else images / speed / 3600,
        gpu_hours=None if images is None else images / speed / 3600 * machine.gpus,
    )
