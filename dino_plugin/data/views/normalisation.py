"""ImageNet's colours: the mean and standard deviation of each channel, in the order R, G, B."""

# Of pixels in [0, 1], as torchvision, timm and Lightly count.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Of grey levels in [0, 255], as OpenMMLab counts.
IMAGENET_MEAN_LEVELS = tuple(255 * mean for mean in IMAGENET_MEAN)
IMAGENET_STD_LEVELS = tuple(255 * std for std in IMAGENET_STD)
