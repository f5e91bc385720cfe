"""Traced graphs of networks, rewritten, packed and fused."""
