"""Ends the processes of a run whose supervisor was killed before it could: ``python -m cli.guardian FILE SECONDS``.

It waits for the end of its standard input, which the kernel brings about however the supervisor dies. After an orderly
stop the run file is empty and nothing is left to do.
"""

import signal
import sys
from pathlib import Path

from cli.processes import SERVER, RunFile, end_all


def main() -> None:
    """Waits for the supervisor's death, then cleans up: workers first, the Redis server last."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    run_file = RunFile(Path(sys.argv[1]))
    sys.stdin.buffer.read()
    run_file.end_left_overs(grace_seconds=float(sys.argv[2]))
    server = run_file.find(SERVER)
    if server is not None:
        end_all([server], grace_seconds=3)


if __name__ == "__main__":
    main()
