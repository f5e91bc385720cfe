"""Segmentation: masks to learn from, losses and metrics for pixels, and images of any size tile by tile."""
