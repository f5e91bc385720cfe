"""Compound scaling: the rule for every family, what a scaled network costs, and the networks that a budget reaches."""
