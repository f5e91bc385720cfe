"""Training and evaluation of any `nn.Module` that maps images (N, C, H, W) to scores (N, K); knows no architecture."""
