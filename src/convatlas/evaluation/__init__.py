"""Judging networks as the papers did: protocols of crops and scales, ensembles, calibration, statistics, and the files
they leave.
"""
