import time
from types import SimpleNamespace

import pytest

from gpu_checks import recipes
from gpu_checks.findings import Findings, read_findings


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Of a part, on the CPU, even smaller than ``--size small``."""
    small = recipes.SIZES['small']
    small = small._replace(
        network=dict(small.network, img_size=32), global_size=32, local_size=16, batch=2, speed_batch=2, workers=0,
        steps=6, compared=2, num_images=24,
    )  # fmt: skip
    monkeypatch.setitem(recipes.SIZES, 'small', small)
    return SimpleNamespace(device='cpu', size='small', folder=str(tmp_path), images=None, reference=None)


@pytest.fixture
def findings(tmp_path):
    """With a minute."""
    return Findings(tmp_path / 'findings.jsonl', time.time() + 60)


@pytest.fixture
def found(findings, tmp_path):
    """What was found so far, by kind and name."""

    def read() -> dict[str, dict[str, dict]]:
        kinds = read_findings(tmp_path / 'findings.jsonl').items()
        return {kind: {entry['name']: entry for entry in entries} for kind, entries in kinds}

    return read
