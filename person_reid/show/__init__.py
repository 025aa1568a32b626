"""Draw curves, rankings, heat maps, histograms, feature maps, and a report of them all."""
