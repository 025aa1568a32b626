"""Videos: frames, the files of trackers, and the images that are cut from both."""
