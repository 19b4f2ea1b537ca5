"""What segmentation of frozen or fine-tuned features needs beside mmsegmentation."""
