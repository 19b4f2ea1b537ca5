# k-NN on ImageNet-1k: a bank of 1,281,167 labelled images; the 50,000 of the validation set are the queries.
#
# Command:  bash tools/dist_test.sh configs/knn/knn_in1k.py CHECKPOINT 8
#           with data/imagenet/{train,val}/<class>/<images>; see knn_folder.py for what CHECKPOINT may be.
# Hardware: not run by us. The bank's features need 2 GB on each GPU with ViT-S, 4 GB with ViT-B.
# Expected: top1_k20, k-NN column of the authors' README (facebookresearch/dino), class token, 224 px:
#           ViT-S/16 74.5 %, ViT-S/8 78.3 %, ViT-B/16 76.1 %, ViT-B/8 77.4 %, ResNet-50 67.5 %;
#           ViT-S/16 after the 100 epochs of dino_vit-small-p16_8xb128-coslr-100e_in1k.py: 69.3 %.
_base_ = './knn_folder.py'

test_dataloader = dict(dataset=dict(data_root='data/imagenet/val'))
test_cfg = dict(bank_dataloader=dict(dataset=dict(data_root='data/imagenet/train')))
