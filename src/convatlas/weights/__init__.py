"""Checkpoints in and out. So far our own: safetensors that say what they are."""

from .own import Meta as Meta
from .own import load_into as load_into
from .own import read_fitted as read_fitted
from .own import read_meta as read_meta
from .own import save as save
