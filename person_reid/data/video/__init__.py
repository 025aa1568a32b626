"""Videos: frames, track files, and the images that are cut from frames by track."""
