"""From files on disk to batches on a device: names, layouts, the
image bank, augmentation, samplers.
"""
