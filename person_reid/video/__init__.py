"""From frames to people: detectors, a tracker, and tracks that are split where people change."""
