"""What the tests of the data share."""

import gc

import pytest
from mmengine.logging import MMLogger


@pytest.fixture(autouse=True, scope='module')
def little_garbage():
    """mmengine collects garbage whenever it reads a dataset: do not let it look at all that was imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def log(tmp_path_factory, request):
    """The text that was logged, by this process and by its workers."""
    file = tmp_path_factory.mktemp('log') / 'run.log'
    MMLogger.get_instance(request.node.name, log_file=str(file))
    yield file.read_text
    MMLogger._instance_dict.pop(request.node.name)
