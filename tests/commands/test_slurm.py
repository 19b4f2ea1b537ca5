"""What PyTorch reads, from what srun sets."""

import subprocess

from dino_plugin.commands.slurm import variables_of_torchrun


def test_the_first_node_is_the_one_that_the_others_call(monkeypatch):
    slurm = dict(SLURM_PROCID='3', SLURM_LOCALID='1', SLURM_NTASKS='4', SLURM_NODELIST='node[7-8]')
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'SLURM_JOB_ID'):
        monkeypatch.delenv(name, raising=False)
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)

    def scontrol(command, **_):
        assert command == ['scontrol', 'show', 'hostnames', 'node[7-8]']
        return subprocess.CompletedProcess(command, 0, 'node7\nnode8\n')

    monkeypatch.setattr(subprocess, 'run', scontrol)
    found = dict(RANK='3', LOCAL_RANK='1', WORLD_SIZE='4', MASTER_ADDR='node7', MASTER_PORT='29500')
    assert variables_of_torchrun() == found
    monkeypatch.setenv('SLURM_JOB_ID', '1230007')
    assert variables_of_torchrun() == dict(found, MASTER_PORT='20007'), 'two jobs on a node have two ports'
    monkeypatch.setenv('MASTER_ADDR', '10.0.0.7')
    monkeypatch.setenv('MASTER_PORT', '1234')
    assert variables_of_torchrun() == dict(found, MASTER_ADDR='10.0.0.7', MASTER_PORT='1234')
