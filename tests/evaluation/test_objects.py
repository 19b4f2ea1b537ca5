"""Images with objects: what masks and boxes mean, and what is refused before long work starts."""

import json

import numpy as np
import pytest
from bundled import DAVIS
from PIL import Image

from dino_plugin.data.images.label_masks import read_mask, write_mask
from dino_plugin.evaluation.objects.boxes import boxes_around, read_coco_boxes, read_voc_boxes
from dino_plugin.evaluation.objects.images import ObjectDataset

ROWS, COLUMNS = 20, 30


def save_image(path, rows=ROWS, columns=COLUMNS, orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (rows, columns, 3), dtype=np.uint8))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(path, exif=exif)


def save_labels(path, *rectangles, shape=(ROWS, COLUMNS)):
    """Rectangles (label, left, top, right, bottom)."""
    mask = np.zeros(shape, np.uint8)
    for label, left, top, right, bottom in rectangles:
        mask[top:bottom, left:right] = label
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(mask, path)


def save_voc(path, *boxes, size=(COLUMNS, ROWS)):
    things = ''.join(
        '<object><name>cat</name><bndbox>'
        + ''.join(f'<{name}>{value}</{name}>' for name, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), box))
        + '</bndbox></object>'
        for box in boxes
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = f'<size><width>{size[0]}</width><height>{size[1]}</height></size>'
    path.write_text(f'<annotation>{shape}{things}</annotation>')


def save_coco(path, *annotations, images=((1, 'a.jpg'), (2, 'b.jpg'))):
    entries = [dict(id=number, file_name=name, width=COLUMNS, height=ROWS) for number, name in images]
    found = [dict(image_id=number, bbox=box, **more) for number, box, more in annotations]
    path.write_text(json.dumps(dict(images=entries, annotations=found)))


@pytest.fixture
def root(tmp_path):
    """Two images, a.jpg and b.jpg."""
    for name in ('a', 'b'):
        save_image(tmp_path / f'images/{name}.jpg')
    return tmp_path


# --- masks ------------------------------------------------------------------------------------------------------------


def test_the_bundled_frames_have_one_object_each_with_the_box_around_its_mask():
    dataset = ObjectDataset(DAVIS, images='JPEGImages/480p', masks='Annotations/480p')
    assert len(dataset) == 25
    first = dataset[0]
    assert (first.name, first.size) == ('blackswan/00000', (480, 854))
    assert first.read_image().shape == (480, 854, 3)
    assert first.read_image()[105:114, 458:467, 0].mean() > 150  # the swan's beak is red
    mask = read_mask(DAVIS / 'Annotations/480p/blackswan/00000.png') == 1
    assert np.array_equal(first.read_masks(), mask[None])
    rows, columns = np.nonzero(mask)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert first.read_boxes().tolist() == [[float(edge) for edge in edges]]


def test_each_label_is_an_object_and_255_is_neither_object_nor_background(root):
    save_labels(root / 'masks/a.png', (3, 2, 4, 9, 10), (1, 15, 0, 30, 7), (255, 0, 18, 30, 20))
    save_labels(root / 'masks/b.png')
    dataset = ObjectDataset(root, images='images', masks='masks')
    assert dataset[0].read_boxes().tolist() == [[15, 0, 30, 7], [2, 4, 9, 10]]
    assert dataset[0].read_masks().sum(axis=(1, 2)).tolist() == [105, 42]
    assert (dataset[0].read_labels() == 255).sum() == 60
    assert dataset[1].read_masks().shape == (0, ROWS, COLUMNS)
    assert dataset[1].read_boxes().shape == (0, 4)


def test_all_labels_can_be_one_object_without_the_void(root):
    save_labels(root / 'masks/a.png', (3, 2, 4, 9, 10), (1, 15, 0, 30, 7), (255, 0, 18, 30, 20))
    item = ObjectDataset(root, images='images', masks='masks', labels='one', indices=1)[0]
    assert item.read_boxes().tolist() == [[2, 0, 30, 10]]
    assert item.read_masks().sum() == 147
    assert (item.read_labels() == 255).sum() == 60


def test_white_is_the_object_of_saliency_masks_and_says_so_otherwise(root):
    save_labels(root / 'masks/a.png', (255, 2, 4, 9, 10), (127, 9, 4, 10, 10), (128, 1, 4, 2, 10))
    save_labels(root / 'masks/b.png', (255, 2, 4, 9, 10))
    bright = ObjectDataset(root, images='images', masks='masks', labels='bright')
    assert bright[0].read_boxes().tolist() == [[1, 4, 9, 10]]
    for labels in ('each', 'one'):
        with pytest.raises(ValueError, match=r"b\.png has the labels \[0, 255\] only.*labels='bright'"):
            ObjectDataset(root, images='images', masks='masks', labels=labels)[1].read_masks()


def test_the_box_around_a_mask_ends_after_its_last_pixel():
    masks = np.zeros((3, 6, 8), bool)
    masks[0, 0, 0] = masks[1, 5, 7] = masks[2, 2:4, 3:7] = True
    assert boxes_around(masks).tolist() == [[0, 0, 1, 1], [7, 5, 8, 6], [3, 2, 7, 4]]
    with pytest.raises(ValueError, match='mask 1 of 2 has no pixel'):
        boxes_around(np.array([[[True]], [[False]]]))


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_voc_counts_from_one_and_includes_the_last_pixel(root):
    save_voc(root / 'xml/a.xml', (1, 1, 30, 20), (5, 6, 5, 6))
    save_voc(root / 'xml/b.xml')
    dataset = ObjectDataset(root, images='images', boxes='xml')
    assert dataset[0].read_boxes().tolist() == [[0, 0, 30, 20], [4, 5, 5, 6]]
    assert dataset[1].read_boxes().shape == (0, 4)
    assert read_voc_boxes(root / 'xml/a.xml').size == (ROWS, COLUMNS)


def test_coco_gives_corner_and_size_and_crowds_are_left_out(root):
    crowd = (2, [0, 0, 30, 20], dict(iscrowd=1))
    save_coco(root / 'boxes.json', (2, [1.5, 2, 10, 5.25], {}), (1, [0, 0, 30, 20], dict(iscrowd=0)), crowd)
    dataset = ObjectDataset(root, images='images', boxes='boxes.json')
    assert [item.read_boxes().tolist() for item in dataset] == [[[0, 0, 30, 20]], [[1.5, 2, 11.5, 7.25]]]


def test_boxes_that_cross_the_edge_by_a_fraction_are_cut(root):
    save_coco(root / 'boxes.json', (1, [-0.5, 2, 31, 18.75], {}))
    assert ObjectDataset(root, images='images', boxes='boxes.json')[0].read_boxes().tolist() == [[0, 2, 30, 20]]


def test_an_annotation_of_boxes_wins_over_the_boxes_of_masks(root):
    save_labels(root / 'masks/a.png', (1, 0, 0, 5, 5))
    save_voc(root / 'xml/a.xml', (2, 2, 8, 8))
    item = ObjectDataset(root, images='images', masks='masks', boxes='xml', indices=1)[0]
    assert item.read_boxes().tolist() == [[1, 1, 8, 8]]
    assert item.read_masks().sum() == 25


@pytest.mark.parametrize(
    'box', [(32, 3, 40, 9), (-5, 3, 9, 9), (3, 3, 9, 40), (9, 3, 3, 9), (5, 5, 4, 9), ('nan', 3, 9, 9)]
)
def test_boxes_outside_the_image_or_empty_are_refused(root, box):
    save_voc(root / 'xml/a.xml', (2, 2, 8, 8), box)
    with pytest.raises(ValueError, match=r'xml, a: box .* is empty or outside the image of 30 x 20 pixels'):
        ObjectDataset(root, images='images', boxes='xml', indices=1)


def test_boxes_of_an_image_of_another_size_are_refused(root):
    save_voc(root / 'xml/a.xml', (2, 2, 8, 8), size=(ROWS, COLUMNS))
    with pytest.raises(ValueError, match='of an image of 20 x 30 pixels, but it has 30 x 20'):
        ObjectDataset(root, images='images', boxes='xml', indices=1)


@pytest.mark.parametrize(
    'text',
    ['{', '[]', '{"images": []}', '{"images": [{"id": 1}], "annotations": []}',
     '{"images": [], "annotations": [{"image_id": 1, "bbox": [1, 2, 3]}]}',
     '{"images": [], "annotations": [{"image_id": 1, "bbox": [1, 2, "x", 3]}]}'],
)  # fmt: skip
def test_files_that_are_not_of_coco_are_refused_by_name(tmp_path, text):
    (tmp_path / 'x.json').write_text(text)
    with pytest.raises(ValueError, match=r'x\.json is not an annotation of COCO.*bbox'):
        read_coco_boxes(tmp_path / 'x.json')


def test_annotations_of_no_image_are_refused(tmp_path):
    save_coco(tmp_path / 'x.json', (7, [0, 0, 1, 1], {}))
    with pytest.raises(ValueError, match=r'1 image_id of annotations are of no image \(first: 7\)'):
        read_coco_boxes(tmp_path / 'x.json')


@pytest.mark.parametrize(
    'text', ['', '<annotation>', '<a><object/></a>', '<a><object><bndbox><xmin>x</xmin></bndbox></object></a>']
)
def test_files_that_are_not_of_voc_are_refused_by_name(tmp_path, text):
    (tmp_path / 'x.xml').write_text(text)
    with pytest.raises(ValueError, match=r'x\.xml is not an annotation of Pascal VOC.*bndbox'):
        read_voc_boxes(tmp_path / 'x.xml')


# --- which images -----------------------------------------------------------------------------------------------------


def test_images_alone_are_enough_and_numbers_in_names_count(tmp_path):
    for name in ('2', '10', '1'):
        save_image(tmp_path / f'{name}.png')
    dataset = ObjectDataset(tmp_path)
    assert [item.name for item in dataset] == ['1', '2', '10']
    assert not dataset[0].has_boxes
    with pytest.raises(ValueError, match=r'1\.png has no mask: give masks=FOLDER'):
        dataset[0].read_boxes()


def test_a_list_decides_which_images_and_in_which_order(root):
    (root / 'list.txt').write_text('b.jpg\na 1\n')
    assert [item.name for item in ObjectDataset(root, images='images', names='list.txt')] == ['b', 'a']
    save_coco(root / 'boxes.json', (1, [0, 0, 3, 3], {}))
    chosen = ObjectDataset(root, images='images', boxes='boxes.json', names='list.txt', indices=[1])
    assert [item.name for item in chosen] == ['a']
    with pytest.raises(ValueError, match='indices has 2, but there are 2 images'):
        ObjectDataset(root, images='images', indices=[2])
    with pytest.raises(ValueError, match=r'no image of .* is chosen'):
        ObjectDataset(root, images='images', indices=0)


def test_names_that_do_not_exist_are_counted_and_the_first_is_named(root):
    (root / 'list.txt').write_text('a\nc\nd\n')
    with pytest.raises(FileNotFoundError, match=r'2 of 3 listed images are not in .*first: c'):
        ObjectDataset(root, images='images', names='list.txt')
    (root / 'list.txt').write_text('a\na\n')
    with pytest.raises(ValueError, match='names an image twice'):
        ObjectDataset(root, images='images', names='list.txt')
    save_coco(root / 'boxes.json', images=((1, 'a.jpg'), (2, 'c.jpg')))
    with pytest.raises(FileNotFoundError, match=r'1 of 2 images that boxes\.json names are not in .*c\.jpg'):
        ObjectDataset(root, images='images', boxes='boxes.json')


def test_missing_masks_and_boxes_are_counted_and_the_first_is_named(root):
    save_labels(root / 'masks/a.png', (1, 0, 0, 5, 5))
    with pytest.raises(
        FileNotFoundError, match=r'1 of 2 \.png files of the names of the images are not in .*masks/b\.png.*names=FILE'
    ):
        ObjectDataset(root, images='images', masks='masks')
    (root / 'xml').mkdir()
    with pytest.raises(
        FileNotFoundError, match=r'2 of 2 \.xml files of the names of the images are not in .*xml/a\.xml'
    ):
        ObjectDataset(root, images='images', boxes='xml')


@pytest.mark.parametrize('name', ['images', 'masks', 'boxes', 'names'])
def test_folders_and_files_that_do_not_exist_are_named(root, name):
    with pytest.raises(FileNotFoundError, match=f'{name} is not a .*nowhere'):
        ObjectDataset(root, **{'images': 'images', name: 'nowhere'})


def test_a_mask_needs_the_size_of_the_upright_image(root):
    save_image(root / 'images/a.jpg', orientation=6)  # a quarter turn
    save_labels(root / 'masks/a.png', (1, 0, 0, 5, 5))
    with pytest.raises(ValueError, match=r'a\.png has 30 x 20 pixels, .*a\.jpg has 20 x 30'):
        ObjectDataset(root, images='images', masks='masks', indices=1)
    save_labels(root / 'masks/a.png', (1, 0, 0, 5, 5), shape=(COLUMNS, ROWS))
    item = ObjectDataset(root, images='images', masks='masks', indices=1)[0]
    assert item.read_image().shape[:2] == item.read_labels().shape == (COLUMNS, ROWS)


def test_images_that_claim_too_many_pixels_are_refused(root):
    with pytest.raises(ValueError, match=r'a\.jpg.*600'):
        ObjectDataset(root, images='images', max_pixels=599)
    assert ObjectDataset(root, images='images', max_pixels=600)[0].read_image().shape == (ROWS, COLUMNS, 3)


def test_nothing_to_read_unknown_labels_and_twins_are_refused(root):
    with pytest.raises(ValueError, match='give data_root or images'):
        ObjectDataset()
    with pytest.raises(ValueError, match=r"labels must be one of .*got 'all'"):
        ObjectDataset(root, labels='all')
    (root / 'empty').mkdir()
    with pytest.raises(ValueError, match=r'no image in .*empty'):
        ObjectDataset(root, images='empty')
    save_image(root / 'images/a.png')
    with pytest.raises(ValueError, match='differ in their ending only'):
        ObjectDataset(root, images='images')
