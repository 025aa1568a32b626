"""From features to numbers: result files, metrics, neighbours, re-ranking."""
