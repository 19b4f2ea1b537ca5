"""The example of CONTRIBUTING.md is code that works."""

import re
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest
from mmengine.config import Config
from small_training import build_runner, small_config

from dino_plugin import registry

GUIDE = Path(__file__).parents[1] / 'CONTRIBUTING.md'
MODULE = 'dino_plugin.core.losses.variance'


@pytest.fixture
def example(monkeypatch) -> dict[str, str]:
    """Loss, config and test, as a reader would copy them; the loss is importable and has its name."""
    if not GUIDE.is_file():
        pytest.skip('CONTRIBUTING.md belongs to a checkout, not to the installed package')
    loss, config, test = map(dedent, re.findall(r'```python\n(.*?)```', GUIDE.read_text(), flags=re.DOTALL))
    module = ModuleType(MODULE)
    exec(loss, module.__dict__)
    monkeypatch.setitem(sys.modules, MODULE, module)
    registry.MODELS.register_module(name='VarianceLoss', module=module.VarianceLoss)
    yield dict(config=config, test=test)
    registry.MODELS._module_dict.pop('VarianceLoss')


def test_the_test_of_the_example_passes(example):
    names: dict = {}
    exec(example['test'], names)
    names['test_the_hinge_equals_the_equation_term_by_term']()


def test_the_config_of_the_example_trains(example, tmp_path):
    file = tmp_path / 'variance.py'
    configs = GUIDE.parent / 'configs'
    file.write_text(example['config'].replace("'../dino/", f"'{configs}/dino/"))
    loss = Config.fromfile(file).model.losses.variance
    config = small_config(tmp_path / 'work', train_cfg__max_epochs=1)
    config.model.losses.variance = loss
    runner = build_runner(config)
    runner.train()
    assert runner.message_hub.get_scalar('train/loss_variance').current() > 0
