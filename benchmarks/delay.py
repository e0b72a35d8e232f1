"""A network of a given round trip: a proxy that passes on what it reads, half of the round trip later.

For kernels without netem. It delays and limits no throughput, so a transfer takes as long as its round trips do.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType

CHUNK = 1 << 16


class Delay:
    """Listens on a port of this machine for one server. Use it in a `with`.

    Args:
        host, port: the server.
        round_trip: seconds; a change holds for connections that are opened afterwards.
    """

    def __init__(self, host: str, port: int, round_trip: float = 0.0) -> None:
        self.host, self.server_port, self.round_trip = host, port, round_trip
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)

    def __enter__(self) -> Delay:
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        connections: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connect(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._ended.wait()
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. The handshake's last packet reaches a server one and a half round trips after the first."""
        half = self.round_trip / 2
        await asyncio.sleep(3 * half)
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.server_port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(passed_on(reader, far_writer, half), passed_on(far_reader, writer, half))
        finally:
            for each in (writer, far_writer):
                each.close()


async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """One direction, until its end, which is late as well."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b""
            waiting.put_nowait((loop.time() + seconds, data))

    reading = asyncio.ensure_future(read())
    try:
        with contextlib.suppress(OSError):
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(due - loop.time())
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            writer.write_eof()
    finally:
        reading.cancel()
