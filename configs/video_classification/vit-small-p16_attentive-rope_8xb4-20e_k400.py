# The same with four blocks of self-attention and rotary positions in time, nearest to DINOv3's probe, whose code is not
# public: its positions are also those of rows and columns.
#
# Command:  bash tools/dist_train.sh configs/video_classification/vit-small-p16_attentive-rope_8xb4-20e_k400.py 8 \
#               --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_20.pth
#           with the films as in vit-small-p16_attentive_8xb4-20e_k400.py.
# Hardware: 8 GPUs. Not run by us.
# Expected: top-1 accuracy; not run by us.
_base_ = './vit-small-p16_attentive_8xb4-20e_k400.py'

model = dict(num_self_blocks=4, time='rope')
