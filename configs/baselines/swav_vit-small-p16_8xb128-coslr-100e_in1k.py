# SwAV with a ViT-S/16. The sizes of the views are SwAV's; colours and optimiser are those of MoCo v3.
#
# Command:  bash tools/dist_train.sh configs/baselines/swav_vit-small-p16_8xb128-coslr-100e_in1k.py 8
#           (needs `pip install lightly`)
# Hardware: 8 GPUs; 2 views of 224 px and 6 of 96 px for the student, no teacher. Not run by us.
# Expected: no figure for a ViT is known to us. Lightly's ResNet-50 reaches k-NN 49.5 %, linear 67.2 % after 100 epochs
#           with a batch of 256 (docs.lightly.ai, benchmarks).
#
# Prototypes are frozen for the first epoch, as in Lightly's benchmark; that is why they are called last_layer. There is
# no queue, which SwAV has for batches of up to 256 images. SwAV has no teacher: momentum 0 makes the "teacher", which
# is evaluated and exported, equal to the student.
_base_ = './mocov3_vit-small-p16_8xb128-coslr-100e_in1k.py'

model = dict(
    heads=dict(
        _delete_=True,
        projector=dict(type='lightly.models.modules.heads.SwaVProjectionHead', hidden_dim=2048, output_dim=128),
        last_layer=dict(type='lightly.models.modules.heads.SwaVPrototypes', input_dim=128, n_prototypes=3000),
    ),
    losses=dict(
        _delete_=True,
        swav=dict(
            type='dino_plugin.LightlySwAVLoss',
            criterion=dict(type='lightly.loss.SwaVLoss', sinkhorn_gather_distributed=True),
            projector='projector',
            prototypes='last_layer',
        ),
    ),
    momentum=0.0,
)

__multi_crop = dict(
    type='dino_plugin.MultiCrop',
    global_size=224,
    global_scale=(0.14, 1.0),
    local_size=96,
    local_scale=(0.05, 0.14),
    num_local=6,
    split='auto',
)
_base_.train_dataloader.dataset.dataset.pipeline[1] = __multi_crop
optim_wrapper = dict(freeze_last_layer=0.01)  # 1 epoch of 100
