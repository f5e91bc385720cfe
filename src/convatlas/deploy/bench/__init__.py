"""Benchmarks: networks beside their peers, interleaved."""
