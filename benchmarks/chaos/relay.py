"""A relay of TCP links that can be slow, lossy and cut: ``python -m benchmarks.chaos.relay TARGET_PORT NAME...``.

Prints the port of each link as one JSON object, then obeys lines of standard input, ``{"link": …, "state": …}``:

    ok      passes bytes on
    slow    passes each piece on after 100 ms
    lossy   now and then holds a piece for as long as TCP would need to send it again
    cut     closes what is open and lets nobody in
"""

import asyncio
import json
import random
import sys
from collections import defaultdict

PIECE = 65_536


class Relay:
    """All links to one target.

    Args:
        target: The port on loopback behind them.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._states: dict[str, str] = defaultdict(lambda: "ok")
        self._open: dict[str, set[asyncio.StreamWriter]] = defaultdict(set)

    async def listen(self, name: str) -> int:
        """Opens a link and answers its port."""
        server = await asyncio.start_server(lambda reader, writer: self._accept(name, reader, writer), "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def set(self, name: str, state: str) -> None:
        """Changes the state of a link."""
        self._states[name] = state
        if state == "cut":
            for writer in list(self._open[name]):
                writer.transport.abort()

    async def _accept(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._states[name] == "cut":
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._open[name] |= both
        try:
            await asyncio.gather(self._pass(name, reader, far_writer), self._pass(name, far_reader, writer))
        except OSError:
            pass
        finally:
            self._open[name] -= both
            for each in both:
                each.transport.abort()

    async def _pass(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            state = self._states[name]
            if state == "slow":
                await asyncio.sleep(0.1)
            elif state == "lossy" and random.random() < 0.05:
                await asyncio.sleep(random.choice((0.2, 0.4, 0.8)))
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


async def main(target: int, names: list[str]) -> None:
    """Relays until standard input ends."""
    relay = Relay(target)
    ports = {name: await relay.listen(name) for name in names}
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        order = json.loads(line)
        relay.set(order["link"], order["state"])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
