"""Slurm's variables for PyTorch."""

import os
import subprocess


def port_of_job() -> str:
    """MASTER_PORT as it is given, or else one by the number of the job: two jobs may share a node."""
    return os.environ.get('MASTER_PORT') or str(20000 + int(os.environ.get('SLURM_JOB_ID', 9500)) % 10000)


def variables_of_torchrun() -> dict[str, str]:
    """What torchrun would set, for a process that srun started; MASTER_ADDR stays as it is given.

    For processes without GPUs: mmengine's Slurm launcher sets CUDA's device.
    """
    first_node = ''
    if 'MASTER_ADDR' not in os.environ:
        command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
        first_node = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]
    return dict(
        RANK=os.environ['SLURM_PROCID'],
        LOCAL_RANK=os.environ['SLURM_LOCALID'],
        WORLD_SIZE=os.environ['SLURM_NTASKS'],
        MASTER_ADDR=os.environ.get('MASTER_ADDR', first_node),
        MASTER_PORT=port_of_job(),
    )
