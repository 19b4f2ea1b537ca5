"""Compiled blocks compute the same, and all blocks of a network are one graph.

Dynamo without a backend is enough to see it. The type checker of the tests would break graphs, so it is taken off.
"""

import functools
import inspect

import pytest
import torch
from test_class_token_only import assert_same as assert_class_token_same
from test_class_token_only import make
from test_packed_views import outcome, views_of

from dino_plugin.backbones import attention_steps, packed_depth, pre_norm_blocks
from dino_plugin.backbones.stochastic_depth import SubsetDropPath
from dino_plugin.core.views import ViewBatch

DEPTHS = [{}, {'drop_path_rate': 0.5}, {'subset_drop_path': 0.5}]
FIXED = 'fixed shapes'


def packed_graphs(changes):
    """timm's first block has a rate of 0, and no factors."""
    return [FIXED] * (2 if 'drop_path_rate' in changes else 1)


@pytest.fixture
def graphs(monkeypatch):
    """What `compile_blocks` compiled, in order; whatever is not one whole graph is an error."""
    for owner in (SubsetDropPath, attention_steps, packed_depth, packed_depth.Depth, pre_norm_blocks):
        for name, value in list(vars(owner).items()):
            if inspect.isfunction(value):
                monkeypatch.setattr(owner, name, inspect.unwrap(value))
    compiled_graphs = []

    def backend(graph, inputs):
        varies = any(isinstance(value, torch.SymInt) for value in inputs)
        compiled_graphs.append('any shapes' if varies else FIXED)
        return graph.forward

    compile_once = functools.cache(lambda function: torch.compile(function, backend=backend, fullgraph=True))
    monkeypatch.setattr(
        pre_norm_blocks, '_compiled', lambda function, mode: (compile_once if mode else _same)(function)
    )
    torch._dynamo.reset()
    yield compiled_graphs
    torch._dynamo.reset()


def _same(function):
    return function


def compiled(kind, **changes):
    """With `compile_blocks`, other than for blocks that timm runs itself: the compiler is that of the tests."""
    backbone = make(kind, **changes).train()
    backbone._compile_mode = True
    return backbone


def seeded(backbone, wanted, seed=0, views=None):
    torch.manual_seed(seed)
    return outcome(backbone, views or views_of(), wanted)


@pytest.mark.parametrize('kind', ['plain', 'rope'])
@pytest.mark.parametrize('changes', DEPTHS)
def test_the_last_block_is_one_graph_of_the_same_result(kind, changes, graphs):
    assert_class_token_same(make(kind, **changes).train(), compiled(kind, **changes))
    assert graphs == [*packed_graphs({}), FIXED], 'the first of two blocks is packed, be it of one size'


@pytest.mark.parametrize('kind', ['plain', 'registers', 'rope'])
@pytest.mark.parametrize('changes', [*DEPTHS, {'subset_drop_path': 0.5, 'gradient_checkpointing': True}])
def test_packed_blocks_are_one_graph_of_the_same_result_at_every_step(kind, changes, graphs):
    changes = {**changes, 'depth': 3}
    plain, fast = make(kind, **changes).train(), compiled(kind, **changes)
    for seed in range(3):
        for found, expected in zip(*(seeded(backbone, (True, True), seed) for backbone in (fast, plain))):
            torch.testing.assert_close(found, expected)
        assert graphs == packed_graphs(changes), 'the last block of all tokens is not compiled by this'


@pytest.mark.parametrize('changes', DEPTHS)
def test_twelve_blocks_of_all_rates_are_one_graph_and_the_last_one_for_class_tokens_another(changes, graphs):
    """PyTorch gives up at eight graphs of one function, and would then run the rest uncompiled."""
    backbone = compiled('plain', depth=12, **changes)
    for seed in range(2):
        seeded(backbone, (True, False), seed)
        assert graphs == [*packed_graphs(changes), FIXED]


@pytest.mark.parametrize('changes', DEPTHS)
def test_twelve_blocks_of_images_of_one_size_are_one_graph(changes, graphs):
    backbone, plain = compiled('rope', depth=12, **changes), make('rope', depth=12, **changes).train()
    images = views_of().global_views
    for seed in range(2):
        found, expected = (torch.manual_seed(seed) and each(images).patches for each in (backbone, plain))
        torch.testing.assert_close(found, expected)
        assert graphs == packed_graphs(changes)


def test_a_teacher_beside_the_student_keeps_its_shapes_fixed_and_new_sizes_are_compiled_once(graphs):
    student, teacher = compiled('plain', subset_drop_path=0.5), compiled('plain').eval()
    other = ViewBatch(views_of().global_views[..., :24, :], views_of().local_views[..., :8, :])
    numbers = []
    for views in (views_of(), views_of(), other, views_of(), other):
        with torch.no_grad():
            teacher(views.global_views)
        seeded(student, (True, False), views=views)
        numbers.append(len(graphs))
    assert numbers == [2, 2, 4, 4, 4]
    assert graphs[:2] == [FIXED, FIXED]
