"""Shards: pictures in tar files, on a local disk or elsewhere."""
