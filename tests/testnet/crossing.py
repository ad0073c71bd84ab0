"""One connection between two regions, and how long what it carries is on its way.

    near end (who asked)  -- read at t --> held until t + rtt/2 --> written -- far end (who was asked)
                          <-- likewise -----------------------------

Each direction is a lane. Data, the end of a stream and a reset travel the same lane, so they keep their order.
"""
from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from typing import Callable, Union, cast

import layout as names
from timetable import Timetable

# How much a lane holds before it stops reading: 4 MiB in 5 s are still 6 Mbit/s, in 40 ms 800.
HELD_MAX_BYTES = 4 << 20
# Closing a socket with this set sends a reset instead of a goodbye.
_LINGER_NOT = struct.pack("ii", 1, 0)
# A half of a round trip in nanoseconds, asked for anew for each piece of data.
Half = Callable[[], int]


class _End:
    """The source has closed its stream."""


class _Reset:
    """The source is gone without closing."""


_Item = Union[bytes, _End, _Reset]


class _Lane(asyncio.Protocol):
    """Reads from one end and writes, later, to the other."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing
        self.transport: asyncio.Transport | None = None
        self.other: _Lane | None = None
        self._writable = True
        self._paused = False
        # Whether the source has closed its stream, and whether the other end has been told.
        self._read_all = False
        self._ended = False
        self._due_ns = 0
        self._held_items = 0
        self._held_bytes = 0
        # What came while the other end was not joined yet.
        self._early: list[_Item] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.other is not None:
            early, self.other._early = self.other._early, []
            for item in early:
                self.other._hand_over(item)

    def data_received(self, data: bytes) -> None:
        self._carry(data)

    def eof_received(self) -> bool:
        self._read_all = True
        self._carry(_End())
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._carry(_Reset())

    def pause_writing(self) -> None:
        self._writable = False
        self._balance_other()

    def resume_writing(self) -> None:
        self._writable = True
        self._balance_other()

    def _carry(self, item: _Item) -> None:
        if self._crossing.deaf:
            return
        now = time.monotonic_ns()
        # A round trip that has just become shorter must not let data overtake what is on its way.
        self._due_ns = max(self._due_ns, now + self._crossing.half())
        if self._due_ns <= now and not self._held_items:
            self._hand_over(item)
        else:
            self._hold(item, 1)
            self._crossing.timetable.at(self._due_ns, lambda: self._arrive(item))
        self.balance()

    def _hold(self, item: _Item, sign: int) -> None:
        self._held_items += sign
        if isinstance(item, bytes):
            self._held_bytes += sign * len(item)

    def _arrive(self, item: _Item) -> None:
        self._hold(item, -1)
        self._hand_over(item)
        self.balance()

    def _hand_over(self, item: _Item) -> None:
        if self._crossing.deaf or self.other is None:
            return
        if self.other.transport is None:
            self._early.append(item)
        elif isinstance(item, bytes):
            self.other.transport.write(item)
        elif isinstance(item, _End):
            self._ended = True
            if self.other._ended:
                self._crossing.close()
            elif not self.other.transport.is_closing():
                self.other.transport.write_eof()
        else:
            self._crossing.reset()

    def balance(self) -> None:
        """Reads only as long as what is held, and what the other end has not taken yet, stays small."""
        if self.transport is None or self.other is None or self._read_all or self.transport.is_closing():
            return
        full = self._held_bytes >= HELD_MAX_BYTES or not self.other._writable
        if full and not self._paused:
            self.transport.pause_reading()
        elif self._paused and not full:
            self.transport.resume_reading()
        self._paused = full

    def _balance_other(self) -> None:
        if self.other is not None:
            self.other.balance()


class Crossing:
    """A connection from one region to another, from its being asked for to its end."""

    def __init__(self, near: socket.socket, source: int, target: tuple[str, int], timetable: Timetable,
                 half: Half, gone: Callable[[Crossing], None]) -> None:
        self.regions = {source, names.region_of(target[0])}
        self.timetable = timetable
        self.half = half
        # Whether what arrives or is on its way is thrown away: the connection is cut, or over.
        self.deaf = False
        self._over = False
        self._source = source
        self._target = target
        self._gone = gone
        self._near = near
        self._far = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._lanes = (_Lane(self), _Lane(self))
        self._lanes[0].other, self._lanes[1].other = self._lanes[1], self._lanes[0]
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        """Asks the other end after half a round trip, and lets data in after the other half."""
        loop = asyncio.get_running_loop()
        try:
            for end in (self._near, self._far):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._half_way()
            self._far.bind((names.gateway(self._source), 0))
            await loop.sock_connect(self._far, self._target)
            await self._half_way()
            near, far = self._lanes
            await loop.connect_accepted_socket(lambda: near, self._near)
            await loop.connect_accepted_socket(lambda: far, self._far)
        except OSError:
            # Refused, or out of reach: the asking end hears of it as late as of an answer.
            await self._half_way()
            if not self.deaf:
                self.reset()
        except asyncio.CancelledError:
            self._dispose(abrupt=True)

    async def _half_way(self) -> None:
        await self.timetable.sleep_until(time.monotonic_ns() + self.half())

    def cut(self) -> None:
        """What is on its way is lost. Both ends stay open: nobody is told."""
        self.deaf = True

    def reset(self) -> None:
        """Ends it at once; both ends notice."""
        for end in (self._near, self._far):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._finish(abrupt=True)

    def close(self) -> None:
        """Ends it after what was written has been taken."""
        self._finish(abrupt=False)

    def _finish(self, abrupt: bool) -> None:
        if self._over:
            return
        self._over = self.deaf = True
        self._gone(self)
        if self._opening.done() or self._opening is asyncio.current_task():
            self._dispose(abrupt)
        else:
            # A socket must not be closed while the loop waits for it: _open does it.
            self._opening.cancel()

    def _dispose(self, abrupt: bool) -> None:
        for lane, raw in zip(self._lanes, (self._near, self._far)):
            if lane.transport is None:
                raw.close()
            elif abrupt:
                lane.transport.abort()
            else:
                lane.transport.close()
