"""From image files to batches on a device: decoding, the image bank, augmentation."""
