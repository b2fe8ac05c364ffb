"""One exception for each code of libisthmus (client/isthmus.h)."""

from __future__ import annotations

__all__ = [
    "Aborted",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InternalError",
    "Interrupted",
    "InvalidArgument",
    "IsthmusError",
    "ResourceExhausted",
    "Unavailable",
]


class IsthmusError(Exception):
    """What every call of this package raises when libisthmus refuses it or fails.

    The text says what happened, with ids, what was expected and what was there.
    """

    code = 0


class InvalidArgument(IsthmusError, ValueError):
    """The arguments are wrong, and the same call will fail again. No step has begun."""

    code = 2


class Unavailable(IsthmusError, ConnectionError):
    """No worker listens at the socket, or it went away: attach again later."""

    code = 3


class Aborted(IsthmusError):
    """Another local rank or the worker's run ended the session: attach again."""

    code = 4


class FailedPrecondition(IsthmusError):
    """Refused for good: another version, other tensors than the run has, a rank that is taken."""

    code = 5


class DeadlineExceeded(IsthmusError, TimeoutError):
    """The timeout passed. An attach has not happened; a step is still under way."""

    code = 6


class ResourceExhausted(IsthmusError):
    """A limit was hit, memory above all."""

    code = 7


class InternalError(IsthmusError):
    """A bug in Isthmus."""

    code = 8


class Interrupted(IsthmusError):
    """`keep_waiting` ended the call. An attach has not happened; a step is still under way."""

    code = 9


_CLASSES: dict[int, type[IsthmusError]] = {
    cls.code: cls
    for cls in (
        InvalidArgument,
        Unavailable,
        Aborted,
        FailedPrecondition,
        DeadlineExceeded,
        ResourceExhausted,
        InternalError,
        Interrupted,
    )
}


def error_of(code: int, message: str) -> IsthmusError:
    """The exception for a code that is neither OK nor END."""
    return _CLASSES.get(code, InternalError)(message)
