"""What a frozen network gave is known again by pixels and size."""

import torch

from dino_plugin.core.kept_outputs import KeptOutputs


def test_each_image_is_computed_once_until_there_is_no_room():
    asked = []

    def network(images):
        asked.append(images.shape[0])
        return images.sum(dim=(1, 2, 3)), images.flatten(1).cumsum(dim=1)

    kept, images = KeptOutputs(3), torch.randn(4, 3, 2, 8)
    for order in ([0, 1, 0], [1, 2, 3], [3, 0, 1, 2], [3]):
        for found, expected in zip(kept(network, images[order]), network(images[order])):
            assert torch.equal(found, expected)
    assert asked[::2] == [2, 2, 1, 1], 'twice in a batch counts once; the fourth image finds no room'


def test_the_same_numbers_in_another_shape_are_another_image():
    kept, images = KeptOutputs(2), torch.randn(1, 3, 2, 8)
    kept(lambda given: [given], images)
    (found,) = kept(lambda given: [given], images.reshape(1, 3, 4, 4))
    assert found.shape == (1, 3, 4, 4)
