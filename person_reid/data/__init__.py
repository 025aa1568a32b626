"""Data sets: file names, layouts, downloads, and the choice of each batch's images."""
