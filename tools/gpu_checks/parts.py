"""The parts, the most informative first; light to import."""

from typing import NamedTuple


class Part(NamedTuple):
    """One part, which runs in a process of its own.

    Args:
        name: For the command line and the results.
        module: With a function ``run(options, findings)``.
        weight: Of its share of the time; what a part does not use is shared by those after it.
        what: For people.
    """

    name: str
    module: str
    weight: float
    what: str


PARTS = (
    Part('machine', 'gpu_checks.machine', 1, 'GPU, driver and versions'),
    Part('training', 'gpu_checks.training', 6, "twenty steps of each method, compared with the CPU's losses"),
    Part('speed', 'gpu_checks.speed', 6, 'speed and memory of a step, eager and compiled, beside the reference'),
    Part('evaluation', 'gpu_checks.evaluation', 2, 'features, k-NN and label propagation, compared with the CPU'),
    Part('resume', 'gpu_checks.resume', 3.5, 'a training that is killed and resumed, compared with an unbroken one'),
    Part('compiled', 'gpu_checks.compiled', 4, 'as training, compiled'),
    Part('data', 'gpu_checks.data', 2, 'how fast images become views, and how long the step waits for them'),
    Part('processes', 'gpu_checks.two_processes', 1.5, 'two processes on one device, compared with one'),
    Part('export', 'gpu_checks.export', 1, 'a trained backbone, exported and read again'),
    Part('tests', 'gpu_checks.suite', 2, 'some tests of tests/, with tensors on the device'),
)
