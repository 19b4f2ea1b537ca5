# Franca's ViT-B/14: DINOv2's long recipe with five nested heads for class tokens, five for patches, and rolled masks.
#
# Command:  on each of 8 machines: NNODES=8 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/franca/franca_vit-base-p14_64xb32-long-625k_in22k.py 8
# Hardware: 64 GPUs of 80 GB (H100 for the authors). Not run by us.
# Expected: ImageNet k-NN 77.5 %, linear 82.0 % with images of 224 px (README of valeoai/Franca at 1518b05; an earlier
#           one had 80.9 and 82.0, with images of 518 px).
#
# Batch, rates and iterations are those of their training.md. Their blocks have SwiGLU, their heads another first layer:
# docs/methods/franca.md. The student sees one block of a masked view.
_base_ = '../dinov2/dinov2_vit-base-p14_96xb32-long-625k_in22k.py'

model = dict(backbone=dict(subset_drop_path=0.1), nested_shares=(1 / 2, 1 / 4, 1 / 8, 1 / 16))
optim_wrapper = dict(optimizer=dict(lr=7.01e-4))
_base_.param_scheduler[0].schedule.update(share=0.16, then=dict(type='dino_plugin.Cosine', start=1.0, end=1e-3))
train_dataloader = dict(collate_fn=dict(ratio=(0.1, 0.65), roll=True, inverse=True))
