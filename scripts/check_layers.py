#!/usr/bin/env python3
"""Holds every #include to the diagram of who may know whom (docs/architecture.md), and every look at
the time to the few files that may (common/base/README.md).

Usage: check_layers.py [ROOT]. Prints each line that breaks a rule; exit 1 if any does.
"""
import pathlib
import re
import sys

COMMON = {
    "common/base": set(),
    "common/tensor": {"common/base"},
    "common/kernels": {"common/base"},
    "common/compression": {"common/base", "common/tensor", "common/kernels"},
    "common/optimizer": {"common/base", "common/kernels"},
    "common/run": {"common/base", "common/tensor", "common/compression", "common/optimizer"},
    "common/pace": {"common/base", "common/tensor", "common/compression", "common/run"},
    "common/exchange": {"common/base", "common/tensor", "common/run"},
    "common/collectives": {"common/base", "common/tensor", "common/kernels", "common/device"},
    "common/device": {"common/base"},
    "common/gpu": {"common/base", "common/kernels", "common/compression", "common/optimizer", "common/device"},
    "common/telemetry": {"common/base"},
    "common/program": {"common/base", "common/tensor", "common/run"},
}
ARITHMETIC = {"common/base", "common/tensor", "common/kernels", "common/compression", "common/optimizer", "common/run"}
EDGE = ARITHMETIC | {"common/exchange", "common/telemetry", "common/transport"}
PROGRAM = EDGE | {"common/program"}

# Folder -> folders whose headers it may include, besides its own.
ALLOWED = {
    **COMMON,
    "common/transport": ARITHMETIC | {"common/exchange", "common/telemetry"},
    "server/core": ARITHMETIC | {"common/pace"},
    "server/merge": ARITHMETIC,
    "server/log": {"common/base"},
    "server/engine": ARITHMETIC | {"common/pace", "common/exchange", "common/telemetry", "server/core", "server/merge", "server/log"},
    "server/rpc": EDGE | {"common/pace", "server/core", "server/engine", "server/log", "server/merge"},
    "server": PROGRAM | {"common/pace", "server/rpc"},
    "worker/core": ARITHMETIC,
    "worker/replication": ARITHMETIC,
    "worker/jobs": {"common/base", "common/run", "common/tensor", "common/device", "client", "worker/core"},
    "worker/step": ARITHMETIC | {"common/exchange", "common/collectives", "common/device", "common/gpu", "worker/core", "worker/jobs", "worker/replication"},
    "worker/rpc": EDGE,
    "worker/site": EDGE | {"worker/jobs", "worker/rpc", "worker/step"},
    "worker/daemon": EDGE | {"worker/core", "worker/jobs", "worker/rpc", "worker/site", "worker/step"},
    "worker": PROGRAM | {"worker/daemon", "worker/jobs", "worker/site", "worker/step"},
    "client": set(),
    "cli": PROGRAM | {"cli/base", "cli/bench", "cli/link", "cli/plan", "cli/probe", "cli/rehearse", "cli/status"},
    "cli/base": {"common/base"},
    "cli/bench": {"common/base", "common/kernels", "common/compression", "common/program", "cli/base"},
    "cli/link": {"common/base", "cli/base"},
    "cli/plan": {"common/base", "common/pace", "common/program", "common/run", "cli/base", "cli/link"},
    "cli/probe": EDGE | {"cli/base", "cli/plan", "cli/status"},
    "cli/status": EDGE | {"cli/base"},
    "cli/rehearse": PROGRAM | {"common/pace", "cli/base", "cli/link", "cli/status"},
    "examples/lm": {"client"},
}
# Only these may include gRPC itself, our slowest header.
GRPC = {"common/transport", "server/rpc", "worker/rpc", "cli/probe", "cli/status"}
# And only these a generated message (proto/README.md): elsewhere a struct of ours says it.
PROTO = GRPC | {"worker/site", "cli/rehearse"}

# Who reads the time: the clock that everybody is given, the deadlines of gRPC's calls, and what may
# know nothing of ours.
TIME = {"common/base/clock.cc", "common/transport/deadline.h", "client/channel.c", "examples/lm/stopwatch.h"}
READS_TIME = re.compile(r"(steady|system|high_resolution)_clock::now|absl::Now\(|GetCurrentTimeNanos|clock_gettime|gettimeofday|\btime\((NULL|nullptr|0)\)")

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)


def folder_of(path):
    """The longest listed folder that holds `path`."""
    parts = path.split("/")[:-1]
    while parts:
        if "/".join(parts) in ALLOWED:
            return "/".join(parts)
        parts.pop()
    return None


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    problems = []
    files = 0
    for top in ("common", "server", "worker", "client", "cli", "examples"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in (".h", ".hpp", ".c", ".cc", ".cu", ".cuh"):
                continue
            name = str(path.relative_to(root))
            folder = folder_of(name)
            if folder is None:
                problems.append(f"{name}: its folder is not listed in scripts/check_layers.py")
                continue
            files += 1
            text = path.read_text()
            if READS_TIME.search(text) and name not in TIME:
                problems.append(f"{name}: reads the time; only {', '.join(sorted(TIME))} may")
            for quote, target in INCLUDE.findall(text):
                if target.startswith(("grpcpp/", "grpc/")) and folder not in GRPC:
                    problems.append(f"{name}: includes <{target}>; gRPC stays in {', '.join(sorted(GRPC))}")
                if target.startswith("isthmus/v1/") and folder not in PROTO:
                    problems.append(f"{name}: includes {target}; generated messages stay in {', '.join(sorted(PROTO))}")
                other = folder_of(target) if quote == '"' else None
                if other and other != folder and other not in ALLOWED[folder]:
                    problems.append(f"{name}: includes {target}; {folder} may not know {other}")
    print("\n".join(problems) if problems else f"{files} files keep to the layers")
    return 1 if problems or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
