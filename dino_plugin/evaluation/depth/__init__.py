"""How far each pixel is: monocular depth by decoders of mmsegmentation."""
