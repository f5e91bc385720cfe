"""Other programs: timm, Ray Train, hubs of models."""
