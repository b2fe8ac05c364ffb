"""Isthmus for Python: one model trained across several sites, over thin links.

`Session` is a rank attached to its site's worker, of no framework; `isthmus.torch` is for PyTorch
jobs. libisthmus is loaded at the first use.
"""

from isthmus.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    Interrupted,
    InvalidArgument,
    IsthmusError,
    ResourceExhausted,
    Unavailable,
)
from isthmus.session import Buffer, Constant, Info, Session, StepResult, Tensor

__version__ = "0.1.0"

__all__ = [
    "Aborted",
    "Buffer",
    "Constant",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Info",
    "InternalError",
    "Interrupted",
    "InvalidArgument",
    "IsthmusError",
    "ResourceExhausted",
    "Session",
    "StepResult",
    "Tensor",
    "Unavailable",
]
