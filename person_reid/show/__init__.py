"""Draw curves, rankings, heat maps, histograms and feature maps, and the report that holds them all."""
