"""What the logged numbers and pictures are, and what is healthy, in plain words: the one dictionary of the page."""

from fnmatch import fnmatchcase
from typing import NamedTuple

NOT_SHOWN = ('step', 'iter', 'epoch')
QUALITY, LOSSES, HEALTH, SPEED, OTHER = (
    'What the features can do',
    'Losses',
    'Health of the training',
    'Schedules and speed',
    'Other numbers',
)


class Meaning(NamedTuple):
    """What a scalar is.

    Attributes:
        pattern: Of its name, as in a shell.
        section: Of the page.
        unit: Of the axis.
        text: What it means, and what is healthy.
    """

    pattern: str
    section: str
    unit: str
    text: str


# The first pattern that fits counts.
MEANINGS = (
    Meaning('knn/top1*', QUALITY, '%', 'Share of images whose class a vote of the nearest labelled images finds. '
            'The best single sign that the features improve: it should rise above its first value.'),
    Meaning('knn/top5*', QUALITY, '%', 'Share of images whose class is among the five that the nearest labelled '
            'images name most. It should rise.'),
    Meaning('online/k-NN', QUALITY, '%', 'k-NN classification of the images of the online evaluation. It should rise.'),
    Meaning('online/linear', QUALITY, '%', 'Accuracy of a linear classifier on the frozen features. It should rise.'),
    Meaning('online/*shot*', QUALITY, '%', 'Accuracy of a classifier that has seen a few images of each class. '
            'It should rise.'),
    Meaning('online/retrieval*', QUALITY, '%', 'Mean average precision when images of the same class are searched. '
            'It should rise.'),
    Meaning('online/RankMe', QUALITY, '', 'How many directions the features use. Low values are a sign of collapse.'),
    Meaning('online/alpha*', QUALITY, '', 'How fast the spectrum of the features falls. Values near 1 are healthy.'),
    Meaning('online/LiDAR', QUALITY, '', 'How many directions tell images apart in spite of the views. '
            'Higher is better.'),
    Meaning('online/neighbours*', QUALITY, '%', 'Share of the nearest images that two views of an image have in '
            'common. It needs no labels, and should rise.'),
    Meaning('online/*', QUALITY, '%', 'A measure of the dense features, patch by patch. Class measures may rise while '
            'this one falls: then the patches get worse, and Gram anchoring helps.'),
    Meaning('*mIoU', QUALITY, '', 'Mean overlap of predicted and true segments over the classes. It should rise.'),
    Meaning('*mAcc', QUALITY, '', 'Mean over the classes of the share of pixels that are right. It should rise.'),
    Meaning('*aAcc', QUALITY, '', 'Share of all pixels that are right. It should rise.'),
    Meaning('val/*', QUALITY, '', 'A measure of the validation.'),
    Meaning('accuracy/*', QUALITY, '%', 'Share of images whose class is right. It should rise.'),
    Meaning('loss', LOSSES, '', 'Sum of all losses, each with its weight. It should fall slowly. A sudden fall to '
            'almost nothing is a collapse, not a success.'),
    Meaning('*loss_dino*', LOSSES, 'nats', 'How badly the student predicts the targets of the teacher from other '
            'views. It begins near ln K for K prototypes, and should fall below it.'),
    Meaning('*loss_ibot*', LOSSES, 'nats', 'How badly the student predicts the targets of masked patches. It should '
            'fall, more slowly than the loss of the class token.'),
    Meaning('*loss_koleo*', LOSSES, '', 'Low if features of different images keep a distance from each other. '
            'It should fall and then stay flat.'),
    Meaning('*loss_regression*', LOSSES, '', 'How far the projected features of the student are from those of a frozen '
            'network. It should fall; what is left is what the student cannot express.'),
    Meaning('*loss_gram*', LOSSES, '', 'How far the similarities of patches are from those of the anchor. It should '
            'stay small.'),
    Meaning('*loss_*align*', LOSSES, '', 'How differently student and teacher see two views of one image. It should '
            'fall while the features stay spread.'),
    Meaning('*loss_kernel*', LOSSES, '', 'How differently student and teacher arrange the patches of a view: 0 if '
            'their similarities have one pattern, 1 if these have nothing in common. It should fall.'),
    Meaning('*loss_clustering*', LOSSES, 'nats', 'How badly the clusters fit the patches of the teacher. It begins '
            'near ln K for K clusters and should fall. It may rise again while the features grow richer.'),
    Meaning('*loss_prediction*', LOSSES, 'nats', 'How badly the student tells the clusters of patches that it does not '
            'see. It should fall below ln K for K clusters.'),
    Meaning('*loss_spread*', LOSSES, '', 'Low if features of different images keep a distance from each other. '
            'It should fall and then stay flat.'),
    Meaning('*loss*', LOSSES, '', 'A part of the loss. It should fall or stay flat.'),
    Meaning('*target_information', HEALTH, 'nats', 'How much a target tells about its image: 0 is collapse, '
            'ln of the batch or of the prototypes is the most. It should rise early and stay high.'),
    Meaning('*target_entropy', HEALTH, 'nats', 'How spread a target is over the prototypes. Healthy values lie well '
            'between 0 (one prototype) and ln K (all of them alike).'),
    Meaning('*target_kl_to_uniform', HEALTH, 'nats', 'How unevenly the prototypes are used: 0 is even, ln K means '
            'that one takes all. It should stay small.'),
    Meaning('*center_norm', HEALTH, '', 'Length of the centre that is subtracted from the scores of the teacher. '
            'It should settle; growth without end is a bad sign.'),
    Meaning('feature_std', HEALTH, '', 'Spread of the directions of the features: 0 if all images look alike, '
            '1 if they are spread evenly. Healthy values are above 0.5.'),
    Meaning('effective_rank', HEALTH, '', 'How many directions the features of a batch use. It should rise; a fall '
            'towards 1 is a collapse.'),
    Meaning('grad_norm', HEALTH, '', 'Length of the gradient before it is clipped. Smooth is healthy; peaks that grow '
            'ask for a lower learning rate.'),
    Meaning('skipped_steps', HEALTH, '', 'Steps that were left out because a gradient was not finite. It should be '
            'missing or flat.'),
    Meaning('*lr', SPEED, '', 'Learning rate. It rises in the warm-up and then falls to almost 0.'),
    Meaning('*momentum*', SPEED, '', 'Share of itself that the teacher keeps in a step. It rises towards 1.'),
    Meaning('*weight_decay*', SPEED, '', 'How strongly large weights are reduced.'),
    Meaning('images_per_second', SPEED, '', 'Images that are trained on in a second, by all processes together.'),
    Meaning('data_time', SPEED, 's', 'Part of the time of a step in which it waits for images. Near 0 is healthy; '
            'otherwise use more workers.'),
    Meaning('time', SPEED, 's', 'Seconds of a step. Flat is healthy.'),
    Meaning('memory', SPEED, 'MB', 'Largest memory of the GPU so far. Growth without end is a leak.'),
)  # fmt: skip

PICTURES = {
    'views': 'The views of an image that student and teacher see. An object should be recognisable in most of them.',
    'attention': 'Where the class token looks, head by head. Heads that find objects are a good sign.',
    'pca': 'The main directions of the patch features as colours. Same colours mean the same kind of thing.',
    'features': 'The main directions of the patch features as colours. Same colours mean the same kind of thing.',
    'curves': 'The curves as the quickstart drew them.',
}
FILMS = 'A mask, given in the first frame, is carried through the clip by the similarity of patches.'


def meaning(name: str) -> Meaning:
    """The first entry that fits the name of a scalar."""
    found = (entry for entry in MEANINGS if fnmatchcase(name, entry.pattern))
    return next(found, Meaning(name, OTHER, '', 'A number that this training logs.'))


def about_picture(name: str) -> str:
    """A sentence for a picture by its name."""
    found = (text for word, text in PICTURES.items() if word in name.rpartition('/')[2])
    return next(found, FILMS if name.startswith('propagation') else '')
