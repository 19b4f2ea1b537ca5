# Copydays with whitening, which is learnt on the images of data/whitening.
#
# Command:  python tools/test.py configs/retrieval/copies_copydays_whitened.py CHECKPOINT
#           The form of DINO's code, whose covariance is not about the mean: test_evaluator.whitening=about_zero.
#           Another folder: test_cfg.whitening_dataloader.dataset.data_root=DIR. It needs more images than a descriptor
#           has numbers: more than 1,536 with ViT-B.
# Hardware: as copies_copydays.py, and the images for whitening.
# Expected: see copies_copydays.py. Not run by us.
_base_ = './copies_copydays.py'

__bank = _base_.test_cfg.bank_dataloader
test_cfg = dict(whitening_dataloader=dict(__bank, dataset=dict(__bank.dataset, data_root='data/whitening')))
test_evaluator = dict(whitening='centred')
