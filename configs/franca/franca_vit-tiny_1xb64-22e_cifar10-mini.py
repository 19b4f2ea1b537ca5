# Franca's nested prototypes and rolled masks on the quickstart's 5,000 images of 32 px, on a CPU: DINOv2's preset with
# heads that read the first half and the first quarter of the features, too.
#
# Command:  python tools/train.py configs/franca/franca_vit-tiny_1xb64-22e_cifar10-mini.py  (from a checkout)
# Hardware: 2 CPU cores.
# Expected: not run by us in full. After 8 epochs leave-one-out k-NN 44.1 %, and 41.8 % with a quarter of the features
#           (docs/small_data.md, "Features cut off").
_base_ = '../dinov2/dinov2_vit-tiny_1xb64-22e_cifar10-mini.py'

__heads, __losses = _base_.model.heads, _base_.model.losses
model = dict(heads={}, losses=dict(dino=dict(weight=1 / 3), ibot=dict(weight=0.25 / 3)))  # the mean over three shares
for __word, __share in dict(half=0.5, quarter=0.25).items():
    for __name, __head in __heads.items():
        __nested = dict(__head, share=__share, prototypes=int(__share * __head.prototypes))
        model['heads'][f'{__name}_{__word}'] = __nested
    for __name in ('dino', 'ibot'):
        __nested = dict(__losses[__name], head=f'{__losses[__name].head}_{__word}', **model['losses'][__name])
        model['losses'][f'{__name}_{__word}'] = __nested
train_dataloader = dict(collate_fn=dict(roll=True))
