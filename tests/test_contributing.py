"""The examples of CONTRIBUTING.md are code that works."""

import inspect
import re
import shutil
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from bundled import CIFAR
from mmengine.config import Config
from small_training import build_runner, small_config

from dino_plugin import registry

PAGE = Path(__file__).parents[1] / 'CONTRIBUTING.md'
SECTIONS = ('Add a loss', 'Add an evaluator', 'Add a data set')


class Example(NamedTuple):
    """The blocks of a section, as a reader would copy them, and what the text says of them.

    ``config`` is the first; a data set has a second one, for evaluators.
    """

    module: str  # its dotted name
    code: str
    registry: str
    config: str
    test: str
    other_configs: list[str]


def example_of(section: str) -> Example:
    if not PAGE.is_file():
        pytest.skip('CONTRIBUTING.md belongs to a checkout, not to the installed package')
    text = PAGE.read_text().split(f'## {section}\n')[1].split('\n## ')[0]
    code, config, *others, test = map(dedent, re.findall(r'```python\n(.*?)```', text, flags=re.DOTALL))
    module = re.search(r'^1\. `(dino_plugin/\S+)\.py`', text, flags=re.MULTILINE)[1].replace('/', '.')
    return Example(module, code, re.search(r'line of `registry\.(\w+)`', text)[1], config, test, others)


@pytest.fixture
def added(monkeypatch):
    """Adds the example of a section: its module can be imported, its class has its name."""
    registered = []

    def add(section: str) -> Example:
        example = example_of(section)
        module = ModuleType(example.module)
        exec(example.code, module.__dict__)
        monkeypatch.setitem(sys.modules, example.module, module)
        names = getattr(registry, example.registry)
        (name,) = re.findall(r"type='dino_plugin\.(\w+)'", example.config)
        names.register_module(name=name, module=getattr(module, name))
        registered.append((names, name))
        return example

    yield add
    for names, name in registered:
        names._module_dict.pop(name)


def config_of(example: Example, tmp_path: Path, number: int = 0) -> Config:
    file = tmp_path / 'example.py'
    file.write_text([example.config, *example.other_configs][number].replace("'../", f"'{PAGE.parent}/configs/"))
    return Config.fromfile(file)


@pytest.mark.parametrize('section', SECTIONS)
def test_the_tests_of_an_example_pass(added, section, tmp_path):
    names: dict = {}
    exec(added(section).test, names)
    tests = [function for name, function in names.items() if name.startswith('test_')]
    for number, test in enumerate(tests):
        folder = tmp_path / str(number)
        folder.mkdir()
        test(**({'tmp_path': folder} if 'tmp_path' in inspect.signature(test).parameters else {}))
    assert tests


def test_the_loss_trains_by_its_config(added, tmp_path):
    loss = config_of(added('Add a loss'), tmp_path).model.losses.variance
    config = small_config(tmp_path / 'work', train_cfg__max_epochs=1)
    config.model.losses.variance = loss
    runner = build_runner(config)
    runner.train()
    assert runner.message_hub.get_scalar('train/loss_variance').current() > 0


def test_the_evaluator_scores_by_its_config(added, tmp_path):
    """Two classes whose features point in two directions, and one query of the wrong one."""
    metric = registry.METRICS.build(config_of(added('Add an evaluator'), tmp_path).test_evaluator)
    labels = torch.tensor([0, 0, 1, 1])
    features = torch.eye(2)[labels] + 0.1
    metric.process(None, [dict(features=features, labels=labels, in_bank=True)])
    metric.process(None, [dict(features=features, labels=torch.tensor([0, 0, 1, 0]))])
    assert metric.evaluate(size=4) == {'nearest_mean/top1': 75.0}


def test_the_data_set_goes_through_the_pipeline_of_its_config(added, tmp_path):
    config = config_of(added('Add a data set'), tmp_path)
    shutil.copy(next(CIFAR.rglob('*.jpg')), tmp_path / 'one.jpg')
    (tmp_path / 'images.csv').write_text('file\none.jpg\n')
    source = config.train_dataloader.dataset
    source.dataset.data_root = str(tmp_path)
    dataset = registry.DATASETS.build(source)
    views, local_views = dataset[0, 7][:2]
    assert len(dataset) == 1
    assert views.shape[0] == 2
    assert local_views is None or len(local_views) > 0


def test_the_data_set_is_the_bank_and_the_queries_of_its_other_config(added, tmp_path):
    config = config_of(added('Add a data set'), tmp_path, 1)
    shutil.copy(next(CIFAR.rglob('*.jpg')), tmp_path / 'one.jpg')
    for name in ('bank', 'queries'):
        (tmp_path / f'{name}.csv').write_text('file,class\none.jpg,frog\n')
    for source in (config.test_dataloader.dataset, config.test_cfg.bank_dataloader.dataset):
        source.data_root = str(tmp_path)
        image, label, path = registry.DATASETS.build(source)[0]
        assert (image.shape, label, Path(path).name) == ((224, 224, 3), 0, 'one.jpg')
