"""A look at a data set before training and after: sizes, unreadable files, duplicates, leaks, probable label errors."""

from .checked import Checked, check
from .page import write_page

__all__ = ["Checked", "check", "write_page"]
