"""Hears that the process is told to stop, whoever handles the signal, so that held requests are answered in time.

The server's own handler only stops taking connections and then waits for the requests under way, of which some wait
for a job for a minute; what cuts them off makes clients post again.
"""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable

_STOPS = {signal.SIGTERM, signal.SIGINT}


def call_at_shutdown(act: Callable[[], None]) -> None:
    """Calls ``act`` in a thread when SIGTERM or SIGINT arrives.

    For a process of the service's own, which makes its application in the main thread; elsewhere nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    ours, written = socket.socketpair()
    written.setblocking(False)
    signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)

    def hear() -> None:
        with contextlib.suppress(OSError), written:  # kept open as long as the thread
            while arrived := ours.recv(64):
                if not _STOPS.isdisjoint(arrived):
                    act()

    threading.Thread(target=hear, name="shutdown", daemon=True).start()
