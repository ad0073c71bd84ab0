"""Small connection pools for many calls at once.

Choosing a connection costs httpx time in proportion to the square of a pool's size, and a call that waits in the queue
holds its connection for long. So each pool serves few calls at a time, and there are as many pools as that takes.
"""

from __future__ import annotations

from typing import Callable, Generic, Optional, TypeVar

P = TypeVar("P")
CALLS_PER_POOL = 24


class Shards(Generic[P]):
    """Pools that are made when needed. Takes no lock: the caller does, if there are threads."""

    def __init__(self, make: Callable[[], P]) -> None:
        self._make = make
        self._pools: list[tuple[P, list[None]]] = []
        self._closed = False

    def take(self) -> tuple[P, list[None]]:
        """Returns a pool for one more call. It must be given back."""
        for shard in self._pools:
            if len(shard[1]) < CALLS_PER_POOL:
                break
        else:
            shard = (self._make(), [])
            self._pools.append(shard)
        shard[1].append(None)
        return shard

    def give(self, shard: tuple[P, list[None]]) -> Optional[P]:
        """Takes a pool back. A pool that is returned is no longer needed, and must be closed."""
        shard[1].pop()
        if self._closed or shard not in self._pools:
            # After the end, and for a pool that was left, nothing is kept.
            if shard[1]:
                return None
            self.leave(shard)
            return shard[0]
        # One idle pool is kept, so that load around a multiple of the size does not open and close pools all the time.
        if not shard[1] and sum(not calls for _, calls in self._pools) > 2 and self._pools[0] is not shard:
            self._pools.remove(shard)
            return shard[0]
        return None

    def leave(self, shard: tuple[P, list[None]]) -> None:
        """Stops the use of a pool for more calls. :meth:`give` returns it after the last one."""
        self._pools = [kept for kept in self._pools if kept is not shard]

    def clear(self) -> list[P]:
        """Removes and returns all pools, which must be closed. Later ones are closed after the calls that use them."""
        self._closed = True
        pools, self._pools = self._pools, []
        return [pool for pool, _ in pools]
