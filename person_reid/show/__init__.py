"""Draw curves, rankings, heat maps, histograms, feature maps, and a report with all of them."""
