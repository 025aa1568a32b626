"""Pictures: curves, rankings, heat maps, histograms, maps of features, and the report that holds them all."""
