"""Trains and evaluates any `nn.Module` that maps (N, C, H, W) images to (N, K) scores; knows no architecture."""
