"""Networks that are not from timm, as detectors have them: several stages, maps in a tuple, list or dict."""

import torch
from torch import nn


class Stage(nn.Sequential):
    def __init__(self, channels_in, channels_out):
        convolution = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(channels_out), nn.SiLU())


class Stages(nn.Module):
    """Three maps at strides of 4, 8 and 16, like the input of a detector's neck; ``form`` makes the output of them."""

    def __init__(self, width=8, form='tuple'):
        super().__init__()
        self.form = form
        self.backbone = nn.Module()  # a usual prefix, which nothing may strip
        self.backbone.stem = Stage(3, width)
        self.dark2, self.dark3, self.dark4 = (Stage(width * 2**i, width * 2 ** (i + 1)) for i in range(3))

    def forward(self, images):
        maps, features = [], self.backbone.stem(images)
        for stage in (self.dark2, self.dark3, self.dark4):
            features = stage(features)
            maps.append(features)
        if self.form == 'dict':
            return dict(zip(('dark2', 'dark3', 'dark4'), maps))
        return {'tuple': tuple(maps), 'map': maps[-1], 'vector': maps[-1].mean((2, 3)), 'text': 'no map'}[self.form]


def trained_stages(width=8, form='tuple'):
    torch.manual_seed(0)
    return Stages(width, form).eval()
