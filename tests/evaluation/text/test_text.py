"""Texts beside a frozen backbone: blocks, recall, class vectors and windows against slow references."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from dino_plugin.core.views import Tokens
from dino_plugin.evaluation.text.class_names import class_names, filled, templates_of
from dino_plugin.evaluation.text.model import ImageTextModel
from dino_plugin.evaluation.text.retrieval import ImageTextRetrievalMetric, image_text_ranks
from dino_plugin.evaluation.text.segmenter import TextSegmenter, mean_over_windows, window_starts
from dino_plugin.evaluation.text.tokenizer import Tokenizer
from dino_plugin.evaluation.text.vision_head import VisionHead
from dino_plugin.evaluation.text.zero_shot import ZeroShotClassifier

open_clip = pytest.importorskip('open_clip', reason='pip install "dino_plugin[text]"')
BACKBONE = dict(
    type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32,
    depth=1, num_heads=2,
)  # fmt: skip
MODEL = dict(backbone=BACKBONE, vision=dict(blocks=1), text=dict(width=32, heads=2, layers=1, context_length=16))


def tokens(images=2, rows=3, columns=2, dim=64):
    return Tokens(torch.randn(images, dim), torch.randn(images, rows, columns, dim))


def test_without_blocks_and_with_the_class_token_images_stay_as_they_are():
    given = tokens()
    lit = VisionHead(64, blocks=0, features='class')
    assert not list(lit.parameters()) and lit.patch_part is None
    assert torch.equal(lit.vectors(lit(given)), given.class_token)


@pytest.mark.parametrize('mlp', ['swiglu', 'mlp'])
def test_blocks_begin_as_a_norm_and_a_vector_is_class_token_and_mean_patch(mlp):
    torch.manual_seed(0)
    given = tokens()
    head = VisionHead(64, mlp=mlp, layer_scale=1e-5).eval()
    found = head(given)
    norm = torch.nn.LayerNorm(64)
    torch.testing.assert_close(found.patches, norm(given.patches), atol=1e-3, rtol=0)
    expected = torch.cat([found.class_token, found.patches.reshape(2, 6, 64).mean(1)], dim=1)
    torch.testing.assert_close(head.vectors(found), expected)
    assert torch.equal(head.vectors(found)[:, head.patch_part], expected[:, 64:])
    moved = head(Tokens(given.class_token, given.patches.flip(1)))  # no positions
    torch.testing.assert_close(moved.patches.flip(1), found.patches)
    sizes = {name: tuple(value.shape) for name, value in head.named_parameters()}
    assert sizes['blocks.0.mlp.fc1_g.weight' if mlp == 'swiglu' else 'blocks.0.mlp.fc1.weight'] == (
        (192, 64) if mlp == 'swiglu' else (256, 64)
    )


def test_blocks_have_the_heads_width_and_drop_path_that_they_are_given():
    head = VisionHead(64, heads=4, mlp='mlp', mlp_ratio=2.0, drop_path=0.999, layer_scale=1.0)
    assert head.blocks[0].attn.num_heads == 4 and VisionHead(128).blocks[0].attn.num_heads == 2
    assert head.blocks[0].mlp.fc1.out_features == 128
    given = tokens()
    torch.manual_seed(1)
    torch.testing.assert_close(head.train()(given).patches, torch.nn.LayerNorm(64)(given.patches))  # all is dropped
    assert not torch.allclose(head.eval()(given).patches, torch.nn.LayerNorm(64)(given.patches), atol=0.1)
    with pytest.raises(ValueError, match='5 heads do not divide the width of 64'):
        VisionHead(64, heads=5)
    with pytest.raises(ValueError, match=r"features is one of .* got 'cls'"):
        VisionHead(64, features='cls')


def test_a_text_is_tokens_between_start_and_end_and_long_ones_are_cut_and_told():
    tokenizer = Tokenizer(6)
    found = tokenizer(['A dog', 'one two three four', 'one two three four five', '', 'a <end_of_text> dog'])
    start, end = 49406, 49407
    assert found.tokens[0].tolist()[:1] == [start] and (found.tokens == end).sum(dim=1).tolist() == [1] * 5
    assert found.truncated.tolist() == [False, False, True, False, False]
    assert found.tokens[1].tolist() == found.tokens[2].tolist()
    assert found.tokens[4].tolist() == found.tokens[0].tolist()[:1] + Tokenizer(6)(['a dog']).tokens[0].tolist()[1:]
    with pytest.raises(ValueError, match='context_length=2'):
        Tokenizer(2)


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return ImageTextModel(**MODEL).eval()


def test_only_the_towers_learn_and_the_backbone_is_never_in_training_mode(model):
    model.train()
    seen = []
    handle = model.backbone.register_forward_pre_hook(lambda *_: seen.append(model.backbone.training))
    found = model(torch.randn(3, 3, 32, 32), [['a'], ['b'], ['c ' * 40]], mode='loss')
    handle.remove()
    found['loss'].backward()
    assert seen == [False] and found['truncated'].item() == pytest.approx(1 / 3)
    without = {name.split('.')[0] for name, value in model.named_parameters() if value.grad is None}
    assert without == {'backbone'} and all(p.grad is None for p in model.backbone.parameters())
    with pytest.raises(ValueError, match='2 images with 3 captions: training takes one of each'):
        model(torch.randn(2, 3, 32, 32), [['a'], ['b', 'c']], mode='loss')
    model.eval()


def test_kept_tokens_are_those_of_the_backbone():
    torch.manual_seed(0)
    kept = ImageTextModel(**MODEL, keep=3).eval()
    images = torch.randn(3, 3, 32, 32)
    plain = kept.vision.vectors(kept.vision(kept.backbone(images)))
    asked = []
    kept.backbone.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
    for order in ([0, 1], [2, 0], [1, 2]):
        torch.testing.assert_close(kept(images[order]), plain[order], atol=1e-5, rtol=1e-4)
    assert asked == [2, 1], 'an image is asked once'


def test_a_class_is_the_mean_of_its_normalised_sentences(model):
    templates = ['a {}.', lambda name: f'photo of a {name}']
    part = slice(32, 64)
    with torch.no_grad():
        expected = []
        for name in ('dog', 'cat'):
            own = [normalize(model.encode([text])[0][0, part], dim=0) for text in (f'a {name}.', f'photo of a {name}')]
            expected.append(normalize((own[0] + own[1]) / 2, dim=0))
    torch.testing.assert_close(model.class_vectors(['dog', 'cat'], templates, part), torch.stack(expected))


def test_sentences_that_are_cut_off_are_told(model, log):
    long = 'a ' * 14
    with torch.no_grad():
        vectors = model.class_vectors([f'{long}dog', f'{long}cat', 'dog'], ['{}'])
    torch.testing.assert_close(vectors[0], vectors[1])
    assert '2 of 3 texts have more than 14 tokens' in log()


def slow_recall(images, texts, owners, k):
    similar = images @ texts.T
    to_text = [any(owners[j] == i for j in row.argsort(descending=True)[:k]) for i, row in enumerate(similar)]
    to_image = [owners[j] in column.argsort(descending=True)[:k] for j, column in enumerate(similar.T)]
    return 100 * sum(to_text) / len(images), 100 * sum(to_image) / len(texts)


def test_recall_counts_any_caption_of_an_image():
    torch.manual_seed(0)
    counts = [1, 5, 3, 2, 4, 1]
    images, texts = (normalize(torch.randn(number, 4), dim=1) for number in (6, 16))
    samples = [dict(image=image, texts=own, truncated=0) for image, own in zip(images, texts.split(counts))]
    metric = ImageTextRetrievalMetric(at=(1, 2, 5))
    metric.process(None, samples)
    found = metric.compute_metrics(metric.results)
    owners = torch.arange(6).repeat_interleave(torch.tensor(counts))
    for k in (1, 2, 5):
        expected = slow_recall(images, texts, owners, k)
        assert (found[f'image_to_text_R@{k}'], found[f'text_to_image_R@{k}']) == pytest.approx(expected)
    same = torch.ones(4, 3) / math.sqrt(3)
    assert all(ranks.min() > 0 for ranks in image_text_ranks(same, same, torch.arange(4))), 'ties are errors'


def test_zero_shot_is_the_nearest_class_and_labels_without_a_name_are_refused():
    torch.manual_seed(0)
    classifier = ZeroShotClassifier(classes=['dog', 'cat', 'tench'], templates=['a {}.'], **MODEL).eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        vectors = normalize(classifier.vision.vectors(classifier.tokens(images)), dim=1)
        expected = vectors @ classifier.class_vectors(['dog', 'cat', 'tench'], ['a {}.']).T / 0.07
        found = classifier(images, torch.tensor([0, 1, 2, 0]), mode='predict')
        torch.testing.assert_close(classifier(images), expected)
    # mmpretrain's Accuracy takes what is not above 0 for wrong, and cosines may be below.
    torch.testing.assert_close(torch.stack([sample['pred_score'] for sample in found]), expected.softmax(dim=1))
    with pytest.raises(ValueError, match='Labels are 0 to 3, but there are 3 names'):
        classifier(images[:2], torch.tensor([0, 3]), mode='predict')


@pytest.mark.parametrize(('length', 'starts'), [(10, [0]), (20, [0]), (25, [0, 5]), (50, [0, 10, 20, 30])])
def test_windows_cover_a_side_and_end_at_its_edge(length, starts):
    assert window_starts(length, 20, 10) == starts


def test_overlapping_windows_are_averaged():
    images = torch.rand(1, 2, 25, 31)
    torch.testing.assert_close(mean_over_windows(images, 20, 10, lambda window: window), images)
    counted = mean_over_windows(images, 20, 20, lambda window: torch.full_like(window, window.mean()))
    assert counted[0, 0, 0, 0] == images[..., :20, :20].mean()


def test_pixels_take_the_class_whose_text_is_nearest_to_their_patch():
    torch.manual_seed(0)
    segmenter = TextSegmenter(window=32, stride=32, classes=['sky', 'road'], templates=['{}'], **MODEL).eval()
    images = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        patches = torch.cat([segmenter.tokens(half).patches for half in images.split(32, dim=3)], dim=2)
        vectors = segmenter.class_vectors(['sky', 'road'], ['{}'], slice(32, 64))
        expected = (normalize(patches[0], dim=-1) @ vectors.T).argmax(dim=-1)
        found = segmenter(images)[0].argmax(dim=0)
    assert torch.equal(found[4::8, 4::8], expected)
    with pytest.raises(ValueError, match="features='class'"):
        TextSegmenter(classes=['sky'], templates=['{}'], **dict(MODEL, vision=dict(features='class')))


def test_names_and_templates_come_from_lists_files_and_packages(tmp_path):
    (tmp_path / 'names.txt').write_text('tench\n\nEnglish springer\n')
    assert class_names(str(tmp_path / 'names.txt')) == ['tench', 'English springer']
    assert len(class_names('open_clip.IMAGENET_CLASSNAMES')) == 1000
    templates = templates_of('open_clip.OPENAI_IMAGENET_TEMPLATES')
    assert len(templates) == 80 and filled(templates[0], 'cat') == 'a bad photo of a cat.'


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ([], 'are none'),
        (['dog', ''], "class 1 is ''"),
        (['dog', '!?'], r"class 1 is '!\?'"),
        ('open_clip.NAMES', r"'open_clip.NAMES' cannot be found"),
    ],
)
def test_names_that_say_nothing_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        class_names(wrong)


def test_a_template_without_a_place_is_refused():
    with pytest.raises(ValueError, match="'a dog' has no place for the name"):
        templates_of(['a {}', 'a dog'])
