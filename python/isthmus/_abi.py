"""libisthmus by ctypes: the structs and calls of client/isthmus.h, field by field.

Internal. What the calls mean stands in the header; `isthmus.session` is what to use.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import struct
from ctypes import POINTER, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

OK = 0
END = 1
DEADLINE_EXCEEDED = 6
INTERRUPTED = 9

FLOAT32 = 0
BFLOAT16 = 1
HOST = 0
DEVICE = 1

KeepWaiting = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p)


class _Struct(ctypes.Structure):
    """One that begins with its own size."""

    def __init__(self, **fields: object) -> None:
        super().__init__(struct_size=ctypes.sizeof(type(self)), **fields)


class Tensor(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("dtype", c_int32),
        ("ndim", c_int32),
        ("shape", POINTER(c_int64)),
        ("parameter_group", c_uint32),
        ("constant", c_uint32),
        ("size_bytes", c_size_t),
        ("data", c_void_p),
    ]


class AttachOptions(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("socket_path", c_char_p),
        ("local_rank", c_int32),
        ("local_world_size", c_int32),
        ("timeout_seconds", c_double),
        ("memory", c_int32),
        ("keep_waiting", KeepWaiting),
        ("waiting_context", c_void_p),
        ("own_optimizer", c_uint32),
    ]


class Info(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("group_id", c_uint32),
        ("group_index", c_uint32),
        ("group_count", c_uint32),
        ("rank", c_uint32),
        ("world_size", c_uint32),
        ("round", c_uint64),
        ("rounds", c_uint64),
        ("parameters", c_uint64),
        ("every_steps", c_uint32),
        ("overlap_steps", c_uint32),
        ("run_steps", c_uint64),
        ("run_samples", c_uint64),
    ]


class StepArgs(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("lr", POINTER(c_float)),
        ("weight_decay", POINTER(c_float)),
        ("parameter_groups", c_uint32),
        ("skip", c_uint32),
        ("samples", c_uint64),
        ("loss", c_float),
        ("stream", c_void_p),
    ]


class StepResult(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("round", c_uint64),
        ("contributors", c_uint32),
        ("merged_here", c_uint32),
        ("buckets", c_uint32),
        ("loss", c_float),
        ("blocked_seconds", c_double),
        ("local_seconds", c_double),
        ("peer_wait_seconds", c_double),
        ("link_wait_seconds", c_double),
        ("exchanged", c_uint32),
        ("nonfinite", c_uint32),
    ]


#: All of a StepResult's fields at one go. Field by field costs 50 µs where no cache is warm, as after a
#: wait for others.
unpack_step_result = struct.Struct("NQIIIfdddd?3xI").unpack_from


_SESSION = c_void_p
_CALLS: dict[str, tuple[object, list[object]]] = {
    "isthmus_attach": (c_int, [POINTER(AttachOptions), POINTER(Tensor), c_size_t, POINTER(_SESSION)]),
    "isthmus_set_keep_waiting": (None, [_SESSION, KeepWaiting, c_void_p]),
    "isthmus_parameter": (c_void_p, [_SESSION, c_size_t]),
    "isthmus_gradient": (c_void_p, [_SESSION, c_size_t]),
    "isthmus_constant": (c_void_p, [_SESSION, c_size_t]),
    "isthmus_dlpack_parameter": (c_void_p, [_SESSION, c_size_t]),
    "isthmus_dlpack_gradient": (c_void_p, [_SESSION, c_size_t]),
    "isthmus_get_info": (c_int, [_SESSION, POINTER(Info)]),
    "isthmus_step_begin": (c_int, [_SESSION, POINTER(StepArgs)]),
    "isthmus_step_poll": (c_int, [_SESSION, c_double]),
    "isthmus_step_wait": (c_int, [_SESSION, POINTER(StepResult)]),
    "isthmus_step_wait_for": (c_int, [_SESSION, c_double, POINTER(StepResult)]),
    "isthmus_step": (c_int, [_SESSION, POINTER(StepArgs), POINTER(StepResult)]),
    "isthmus_read_anchor": (c_int, [_SESSION, POINTER(c_void_p), c_size_t, POINTER(c_uint64)]),
    "isthmus_detach": (None, [_SESSION]),
    "isthmus_error_message": (c_char_p, [_SESSION]),
}


def library_path() -> pathlib.Path:
    """Where libisthmus is: $ISTHMUS_LIBRARY, or beside this package."""
    named = os.environ.get("ISTHMUS_LIBRARY")
    return pathlib.Path(named) if named else pathlib.Path(__file__).parent / "lib" / "libisthmus.so.0"


def _load() -> ctypes.CDLL:
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as why:
        raise ImportError(f"isthmus: libisthmus cannot be loaded from {path} ({why}); $ISTHMUS_LIBRARY names another") from why
    for name, (result, arguments) in _CALLS.items():
        try:
            call = getattr(library, name)
        except AttributeError:
            raise ImportError(f"isthmus: {path} is older than this package: it has no {name}") from None
        call.restype = result
        call.argtypes = arguments
    return library


_library: ctypes.CDLL | None = None


def library() -> ctypes.CDLL:
    """libisthmus, loaded at the first call. Calls release the interpreter's lock."""
    global _library
    if _library is None:
        _library = _load()
    return _library
