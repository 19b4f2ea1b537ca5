# Recipes for little data, chosen by a protocol: 9,469 photographs of Imagenette at 128 px, the same images and views
# for all, three seeds.
#
# Command:  python tools/compare_recipes.py configs/studies/small-data_imagenette128.py
#           with the images of configs/dino/dino_vit-tiny_1xb64-9e_imagenette128.py; then once more with --test
# Hardware: 2 CPU cores; about 30 to 60 minutes of one core for each training, of which there are 15.
# Expected: not run by us as a whole. Seed 0, leave-one-out after 9, 18 and 27 epochs (minutes of one core), untrained
#           42.2 %: 'dino/short-memory' 64.9, 71.0, 71.9 % (45); 'ibot' 66.0, 70.2, 70.8 % (51); 'simdino' 62.1, 65.7,
#           66.2 % (43). Its standard error is 0.5.
#
# Recipes compete within a group, the word before the slash. k-NN of each training image among the others chooses; the
# validation images are looked at once, for the best of each group.
__data_root = 'data/imagenette128'

seeds = (0, 1, 2)
options = {'train_cfg.max_epochs': 27, 'custom_hooks.3.interval': 9}
recipes = {
    'dino/short-memory': dict(config='dino/dino_vit-tiny_1xb64-9e_imagenette128.py'),
    'dino/long-memory': dict(
        config='dino/dino_vit-tiny_1xb64-9e_imagenette128.py', options={'model.momentum.start': 0.98}
    ),
    'ibot': dict(config='ibot/ibot_vit-tiny_1xb64-9e_imagenette128.py'),
    'simdino': dict(config='simdino/simdino_vit-tiny_1xb64-9e_imagenette128.py'),
    'dinov2': dict(config='dinov2/dinov2_vit-tiny_1xb64-9e_imagenette128.py'),
}
test = dict(
    config='knn/knn_folder.py',
    options={
        'model.features': 'class+mean',
        'test_dataloader.dataset.data_root': f'{__data_root}/val',
        'test_cfg.bank_dataloader.dataset.data_root': f'{__data_root}/train',
    },
)
