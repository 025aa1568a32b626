"""Find people in frames: detectors, a tracker, track files and live cameras."""
