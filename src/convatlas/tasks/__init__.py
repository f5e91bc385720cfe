"""Tasks: what a network is trained to answer.

One of images (classes), one of pixels; which, the variant says, and only here.
"""

from typing import Any

from ..net import registry
from .classes import CLASSES
from .pixels import PIXELS
from .task import Asked, Candidate, Picture, Task
from .told import Line, Table, Told

__all__ = ["CLASSES", "PIXELS", "Asked", "Candidate", "Line", "Picture", "Table", "Task", "Told", "task_of"]


def task_of(name: str) -> Task[Any, Any, Any]:
    """The task of the variant of that name."""
    return PIXELS if registry.variant(name).segments else CLASSES
