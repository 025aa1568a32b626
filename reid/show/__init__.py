"""Pictures: training curves and rankings."""
