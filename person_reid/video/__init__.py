"""From frames to people: detectors, a tracker, track files and live cameras."""
