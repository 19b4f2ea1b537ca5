"""Slurm's variables for PyTorch, where there is no GPU: mmengine's Slurm launcher sets CUDA's device."""

import os
import subprocess


def variables_of_torchrun() -> dict[str, str]:
    """What torchrun would set, for a process that srun started; MASTER_ADDR and MASTER_PORT stay as they are given."""
    first_node = ''
    if 'MASTER_ADDR' not in os.environ:
        command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
        first_node = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]
    return dict(
        RANK=os.environ['SLURM_PROCID'],
        LOCAL_RANK=os.environ['SLURM_LOCALID'],
        WORLD_SIZE=os.environ['SLURM_NTASKS'],
        MASTER_ADDR=os.environ.get('MASTER_ADDR', first_node),
        MASTER_PORT=os.environ.get('MASTER_PORT', '29500'),
    )
