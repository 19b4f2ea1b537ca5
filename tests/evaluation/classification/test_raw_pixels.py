"""The baseline without a network."""

import cv2
import pytest
import torch

from dino_plugin.evaluation.classification.knn import knn_accuracy
from dino_plugin.evaluation.classification.raw_pixels import raw_pixel_accuracy


def bundled(repository, split, count):
    folders = sorted((repository / 'tests/data/cifar10_mini' / split).iterdir())
    found = [(path, label) for label, folder in enumerate(folders) for path in sorted(folder.glob('*.jpg'))[:count]]
    images = torch.stack([torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()) for path, _ in found])
    return images, torch.tensor([label for _, label in found])


def test_the_bundled_images_give_the_known_number(repository):
    best = raw_pixel_accuracy(*bundled(repository, 'train', 500), *bundled(repository, 'test', 100), sizes=(16,))
    assert best == (pytest.approx(39.1, abs=0.3), 16, 'image mean removed')


def test_it_is_the_best_of_all_forms(repository):
    bank, bank_labels = bundled(repository, 'train', 60)
    queries, query_labels = bundled(repository, 'test', 20)

    def accuracy(size, change):
        forms = []
        for images in (bank, queries):
            cells = 32 // size
            reduced = images.float().unflatten(1, (size, cells)).unflatten(3, (size, cells)).mean(dim=(2, 4))
            forms.append(reduced.flatten(start_dim=1))
        forms = [change(form, forms[0]) for form in forms]
        return knn_accuracy(forms[0], bank_labels, forms[1], query_labels, (20,))['top1_k20']

    changes = {
        'none': lambda form, bank: form,
        'image mean removed': lambda form, bank: form - form.mean(dim=1, keepdim=True),
        'bank mean removed': lambda form, bank: form - bank.mean(dim=0),
    }
    expected = {(size, name): accuracy(size, change) for size in (4, 16) for name, change in changes.items()}
    assert len(set(expected.values())) > 3
    best = raw_pixel_accuracy(bank, bank_labels, queries, query_labels, sizes=(4, 16))
    assert best.accuracy == max(expected.values()) == expected[best.size, best.normalisation]


def test_sizes_above_the_images_are_left_out_and_must_not_be_all():
    images, labels = torch.randint(256, (20, 8, 8, 3), dtype=torch.uint8), torch.arange(20) % 2
    assert raw_pixel_accuracy(images, labels, images, labels, sizes=(4, 8, 16), k=1) == (100.0, 8, 'none')
    with pytest.raises(ValueError, match=r'\(16, 32\) are above the images, 8 pixels'):
        raw_pixel_accuracy(images, labels, images, labels, sizes=(16, 32), k=1)
