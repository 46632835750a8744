"""How much memory this process has held."""

from __future__ import annotations

import resource


def peak_rss_bytes() -> int:
    """The largest resident memory of this process so far.

    `getrusage` counts what the process that started this one held at that moment; Linux's VmHWM (`proc(5)`, status) does not.
    """
    try:
        with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - asked after every stage
            for line in status:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
