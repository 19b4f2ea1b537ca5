# Copy detection on INRIA Copydays: data/copydays/{original,strong,jpegqual/<quality>,crops/<percent>}/<images>.
#
# Command:  python tools/test.py configs/retrieval/copies_copydays.py CHECKPOINT
#           Elsewhere: test_dataloader.dataset.data_root=DIR test_cfg.bank_dataloader.dataset.data_root=DIR/original
#           With distractors, which DINO's paper has 10,000 of: test_cfg.bank_dataloader.dataset.distractors=DIR.
#           With whitening, by another folder (in the paper 20,000 images): see copies_copydays_whitened.py.
# Hardware: one GPU, or a CPU: about 3,200 images of 320 px.
# Expected: copies/mAP/strong in the paper of DINO, with distractors and whitening: ViT-B/8 at 320 px 85.5 % (85.8 in
#           the README of facebookresearch/dino), ViT-B/16 at 224 px 81.7 %; from memory, not checked. Not run by us.
_base_ = './copies_folder.py'

__pipeline = _base_.test_cfg.bank_dataloader.dataset.pipeline
__copies = dict(type='dino_plugin.CopydaysCopies', data_root='data/copydays', pipeline=__pipeline)
test_dataloader = dict(dataset=dict(_delete_=True, **__copies))
test_cfg = dict(bank_dataloader=dict(dataset=dict(data_root='data/copydays/original')))
