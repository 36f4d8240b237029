"""Maps a file and writes a part of it to stdout: what SIGBUS ends must be a process of its own.

python -I -S matrix_mapper.py PATH START STOP random|normal
"""

import mmap
import os
import resource
import sys


def main() -> None:
    path, start, stop, advice = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    fd = os.open(path, os.O_RDONLY)
    mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)
    if advice == "random":
        mapped.madvise(mmap.MADV_RANDOM)
    sys.stdout.buffer.write(mapped[int(start) : int(stop)])


main()
