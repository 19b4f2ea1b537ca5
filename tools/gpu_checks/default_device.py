"""A plugin of pytest: tensors are made on the device that GPU_CHECK_DEVICE names, unless a test says otherwise."""

import os

import torch


def pytest_configure(config) -> None:
    """Once, before anything is collected."""
    torch.set_default_device(os.environ['GPU_CHECK_DEVICE'])
