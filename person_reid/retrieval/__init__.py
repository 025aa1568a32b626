"""From features to metrics: result files, rankings, neighbours and re-ranking."""
