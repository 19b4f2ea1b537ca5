"""A stand-in for a checkout of facebookresearch/dino: modules and functions of its names, written here in a few lines.

Where its weights are copied the networks are timm's, whose parameters have the same names.
"""

from pathlib import Path

UTILS = """
import torch
from torch import nn

def clip_gradients(model, clip):
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.mul_(min(1.0, clip / (parameter.grad.norm().item() + 1e-6)))

def get_params_groups(model):
    return [dict(params=[parameter for parameter in model.parameters() if parameter.requires_grad])]

class MultiCropWrapper(nn.Module):
    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, views):
        return torch.cat([self.head(self.backbone(view)) for view in views])
"""

VISION_TRANSFORMER = """
import timm
from torch import nn
from torch.nn.functional import normalize

def vit_tiny(patch_size, **arguments):
    network = timm.create_model('vit_tiny_patch16_224', num_classes=0, dynamic_img_size=True, **arguments)
    network.forward = lambda images: network.forward_features(images)[:, 0]
    return network

class DINOHead(nn.Module):
    def __init__(self, dim, prototypes):
        super().__init__()
        wide, narrow = 2048, 256
        layers = nn.Linear(dim, wide), nn.GELU(), nn.Linear(wide, wide), nn.GELU(), nn.Linear(wide, narrow)
        self.mlp = nn.Sequential(*layers)
        self.last_layer = nn.utils.weight_norm(nn.Linear(narrow, prototypes, bias=False))
        self.last_layer.weight_g.requires_grad = False

    def forward(self, tokens):
        return self.last_layer(normalize(self.mlp(tokens), dim=-1))
"""

MAIN_DINO = """
import torch
import torch.distributed as dist
from torch import nn
from torchvision import transforms

import utils

TEMPERATURE = 0.1
GLOBAL_SIZE = 224

class DINOLoss(nn.Module):
    def __init__(self, prototypes, num_views, start, end, warmup, epochs):
        super().__init__()
        self.temperature = end
        self.register_buffer('center', torch.zeros(1, prototypes))

    def forward(self, student, teacher, epoch):
        targets = ((teacher - self.center) / self.temperature).softmax(dim=-1).detach().chunk(2)
        predictions = (student / TEMPERATURE).log_softmax(dim=-1).chunk(len(student) * 2 // len(teacher))
        pairs = [(t, s) for t in range(2) for s in range(len(predictions)) if s != t]
        total = teacher.detach().sum(dim=0, keepdim=True)
        dist.all_reduce(total)
        self.center = 0.9 * self.center + 0.1 * total / len(teacher) / dist.get_world_size()
        return sum(-(targets[t] * predictions[s]).sum(dim=-1).mean() for t, s in pairs) / len(pairs)

class DataAugmentationDINO:
    def __init__(self, global_scale, local_scale, num_local):
        def view(size, scale, blur, solarize):
            return transforms.Compose([
                transforms.RandomResizedCrop(size, scale, interpolation=transforms.InterpolationMode.BICUBIC),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
                transforms.RandomGrayscale(0.2),
                transforms.RandomApply([transforms.GaussianBlur(11, (0.1, 2.0))], p=blur),
                transforms.RandomSolarize(128, solarize),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ])
        self.views = [view(GLOBAL_SIZE, global_scale, 1.0, 0.0), view(GLOBAL_SIZE, global_scale, 0.1, 0.2)]
        self.views += [view(96, local_scale, 0.5, 0.0)] * num_local

    def __call__(self, image):
        return [view(image) for view in self.views]

def train_one_epoch(
    student, teacher, plain_teacher, criterion, loader, optimizer, rates, decays, momenta, epoch, scaler, args
):
    for views, _ in loader:
        views = [view.cuda(non_blocking=True) for view in views]
        loss = criterion(student(views), teacher(views[:2]), epoch)
        optimizer.zero_grad()
        loss.backward()
        utils.clip_gradients(student, args.clip_grad)
        optimizer.step()
        with torch.no_grad():
            for mine, theirs in zip(student.module.parameters(), plain_teacher.parameters()):
                theirs.lerp_(mine, 1 - momenta[epoch])
        torch.cuda.synchronize()
        print('a message that must not reach the output')
"""

EVAL_KNN = """
import torch

NEAREST = True

def knn_classifier(bank, labels, queries, answers, k, temperature, num_classes=1000):
    similarities, order = (queries @ bank.T).topk(k, largest=NEAREST)
    votes = torch.zeros(len(queries), num_classes)
    votes.scatter_add_(1, labels[order], (similarities / temperature).exp())
    hits = votes.argsort(dim=1, descending=True)[:, :5] == answers[:, None]
    return 100 * hits[:, 0].double().mean().item(), 100 * hits.any(dim=1).double().mean().item()
"""

EVAL_VIDEO_SEGMENTATION = """
import torch
from torch.nn.functional import normalize

REVERSED = False

def restrict_neighborhood(rows, columns):
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    return (places[:, None] - places).abs().amax(dim=-1) <= args.size_mask_neighborhood

def label_propagation(args, model, frame, features, labels, mask=None):
    patches = model.get_intermediate_layers(frame.unsqueeze(0).cuda(), n=1)[0][0, 1:]
    mask = restrict_neighborhood(*frame.shape[1:]) if mask is None else mask
    sources = normalize(torch.stack(features), dim=1)
    similarities = normalize(patches, dim=1) @ sources
    similarities = similarities.masked_fill(~mask, -torch.inf).transpose(0, 1).flatten(1)
    values, order = similarities.topk(args.topk, dim=1)
    shares = torch.cat([part.flatten(2)[0].T for part in labels])
    shares = shares.flip(1) if REVERSED else shares
    found = ((values / 0.1).softmax(dim=1)[..., None] * shares[order]).sum(dim=1)
    return found.T.reshape(1, -1, *frame.shape[1:]), patches.T, mask
"""

FILES = dict(
    utils=UTILS,
    vision_transformer=VISION_TRANSFORMER,
    main_dino=MAIN_DINO,
    eval_knn=EVAL_KNN,
    eval_video_segmentation=EVAL_VIDEO_SEGMENTATION,
)


def write_reference(folder: Path, **changes: tuple[str, str]) -> Path:
    """The folder, with a file for each module; ``changes`` maps a module to a text in it and its replacement."""
    folder.mkdir()
    for name, text in FILES.items():
        if name in changes:
            before, after = changes[name]
            assert before in text
            text = text.replace(before, after)
        (folder / f'{name}.py').write_text(text)
    return folder
