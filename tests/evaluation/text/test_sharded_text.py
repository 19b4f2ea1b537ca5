"""Text towers of which each of two processes holds a half learn what one process learns."""

import pytest
import torch
from networks import NETWORKS
from processes import run_in_processes
from torch.distributed.tensor import DTensor

from dino_plugin.core.reduce import whole
from dino_plugin.engine.distributed.fully_shard import FullyShard
from dino_plugin.evaluation.text.model import ImageTextModel

pytest.importorskip('open_clip', reason='pip install "dino_plugin[text]"')
NAME, SIZES = NETWORKS['plain']
WORDS = ('dog', 'cat', 'ship', 'truck')


def towers(kind, keep):
    torch.manual_seed(0)
    model = ImageTextModel(
        dict(type='dino_plugin.TimmBackbone', model_name=NAME, **SIZES),
        vision=dict(blocks=1, drop_path=0.0),
        text=dict(width=32, heads=2, layers=2, context_length=8),
        loss=dict(kind=kind, scale=99.9),  # soon above its limit
        keep=keep,
    )
    return model.double().train()


def learn(model, rank=0, processes=1):
    """Four steps with accumulated gradients in between; the last loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    for step in range(4):
        images = torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.float64)
        own = slice(rank * 4 // processes, (rank + 1) * 4 // processes)
        captions = [[f'{step} {word}'] for word in WORDS]
        found = model(images[own], captions[own], mode='loss')
        found['loss'].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return found


def learn_in_halves(rank, kind, keep, folder):
    model = FullyShard(towers(kind, keep))
    cut = {name.split('.')[0] for name, value in model.module.named_parameters() if isinstance(value, DTensor)}
    assert cut == {'vision', 'text', 'loss'} | (set() if keep else {'backbone'})
    found = learn(model, rank, 2)
    expected = torch.load(folder / f'{kind}.pth', weights_only=True)
    torch.testing.assert_close(found['scale'], expected.pop('scale'))
    state = model.module.state_dict()
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(whole(state[key]), value, rtol=0, atol=1e-9, msg=lambda text, key=key: key + text)


@pytest.mark.parametrize(('kind', 'keep'), [('softmax', 0), ('sigmoid', 4)])
def test_two_halves_learn_what_one_process_learns(kind, keep, tmp_path):
    model = towers(kind, keep)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    scale = learn(model)['scale']
    assert scale <= 100.0001
    after = model.state_dict()
    moved = {key.split('.')[0] for key, value in after.items() if not torch.equal(value, before[key])}
    assert moved == {'vision', 'text', 'loss'}
    torch.save({**after, 'scale': scale}, tmp_path / f'{kind}.pth')
    run_in_processes(learn_in_halves, kind, keep, tmp_path)


def halve(rank):
    model = FullyShard(towers('sigmoid', 0).float(), precision='bf16')
    seen = {}
    model.module.loss.register_forward_hook(lambda loss, inputs, _: seen.update(
        scale=loss.log_scale.dtype, vectors=inputs[0].dtype
    ))  # fmt: skip
    model(torch.randn(2, 3, 32, 32), [['a'], ['b']], mode='loss')['loss'].backward()
    assert seen == dict(scale=torch.float32, vectors=torch.bfloat16)


def test_in_half_precision_the_scale_keeps_its_digits():
    run_in_processes(halve)
