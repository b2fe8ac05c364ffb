"""Says of the wheel that it holds programs: for any Python 3, on a machine of this kind."""

from __future__ import annotations

import platform
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

GLIBC = "2_34"  # cmake/IsthmusStatic.cmake; scripts/wheel has auditwheel confirm it


class HoldsPrograms(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux_{GLIBC}_{platform.machine()}"
