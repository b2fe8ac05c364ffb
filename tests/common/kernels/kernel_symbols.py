#!/usr/bin/env python3
"""kernel_symbols.py NM ARCHIVE...: no function for a newer processor may stand in for a common one.

The linker keeps one definition of each weak function (a template's, or an inline one's) out of all
object files that have it. Were that the one compiled for AVX2, a lesser processor would run it. So
no function that an object of newer kernels defines weakly may be defined in any other object.
"""

import subprocess
import sys

# Objects of tile_kernels_* that every processor of the architecture can run; all others are newer.
COMMON = ("tile_kernels_scalar", "tile_kernels_128")


def is_newer(name):
    return name.startswith("tile_kernels_") and not name.startswith(COMMON)


def defined(nm, archive):
    """Yields (object, type letter, symbol) for every defined symbol that the linker sees."""
    text = subprocess.run([nm, "-A", "--defined-only", "--extern-only", archive], check=True,
                          capture_output=True, text=True).stdout
    for line in text.splitlines():
        where, _, rest = line.rpartition(".o:")
        fields = rest.split()
        if where and len(fields) == 3:
            yield where.rpartition(":")[2], fields[1], fields[2]


def main():
    nm, archives = sys.argv[1], sys.argv[2:]
    objects = {}  # symbol -> [(object, type letter)]
    newer = set()
    for archive in archives:
        for name, letter, symbol in defined(nm, archive):
            # "V" and "u" are data: the same whatever they were compiled for.
            if letter in "Vu":
                continue
            objects.setdefault(symbol, []).append((name, letter))
            if is_newer(name):
                newer.add(name)
    if not newer:
        print("kernel_symbols: no object of newer kernels in the archives")
        return 1
    wrong = 0
    for symbol, places in sorted(objects.items()):
        weak = [name for name, letter in places if letter == "W" and is_newer(name)]
        if weak and len(places) > 1:
            others = [name for name, _ in places if name != weak[0]]
            print(f"{symbol}: weak in {weak[0]}, also in {', '.join(others)}")
            wrong += 1
    print(f"kernel_symbols: {len(objects)} functions, {wrong} shared with {', '.join(sorted(newer))}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
