"""What the tests of the data share."""

import gc

import pytest


@pytest.fixture(autouse=True, scope='module')
def little_garbage():
    """mmengine collects garbage whenever it reads a dataset: do not let it look at all that was imported."""
    gc.freeze()
    yield
    gc.unfreeze()
