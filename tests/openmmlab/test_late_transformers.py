"""mmengine imports transformers for one optimiser; here that waits for a config that asks for it."""

import pytest
from fresh_process import run_in_fresh_process

pytest.importorskip('transformers', reason='transformers is not installed')

STEP = """
    import sys
    {first}
    import torch
    from mmengine.optim import build_optim_wrapper
    before = 'transformers' in sys.modules
    layer = torch.nn.Linear(2, 2)
    optimizer = dict(type='Adafactor', lr=1e-3, weight_decay=0.01, relative_step=False)
    wrapper = build_optim_wrapper(layer, dict(optimizer=optimizer, paramwise_cfg={paramwise}))
    torch.manual_seed(0)
    layer.weight.data.fill_(1.0)
    layer(torch.rand(3, 2)).sum().backward()
    wrapper.step()
    print(before, type(wrapper.optimizer).__module__, layer.weight.tolist())
"""


@pytest.mark.parametrize('paramwise', [None, dict(norm_decay_mult=0.0)])
def test_adafactor_is_that_of_transformers_and_nothing_is_imported_before_it_is_asked_for(paramwise):
    late, always = (
        run_in_fresh_process(STEP.format(first=first, paramwise=paramwise)).splitlines()[-1]
        for first in ('import dino_plugin', '')
    )
    assert late.startswith('False transformers.optimization [[')
    assert always == late.replace('False', 'True')
