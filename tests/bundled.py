"""The small real data that the tests bring along; sources and licences are in tests/data."""

from pathlib import Path

DATA = Path(__file__).parent / 'data'
CIFAR = DATA / 'cifar10_mini/test'
DAVIS = DATA / 'davis'
