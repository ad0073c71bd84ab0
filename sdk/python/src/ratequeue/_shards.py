"""Many calls at once through several small connection pools.

Choosing a connection costs httpx time in proportion to the square of a pool's size, and a call that waits in line holds its
connection for long. So each pool serves few calls at a time, and there are as many pools as that takes.
"""

from __future__ import annotations

from typing import Callable, Generic, Optional, TypeVar

P = TypeVar("P")
CALLS_PER_POOL = 24


class Shards(Generic[P]):
    """Pools, made when needed. Takes no lock: the caller does, if there are threads."""

    def __init__(self, make: Callable[[], P]) -> None:
        self._make = make
        self._pools: list[tuple[P, list[None]]] = []

    def take(self) -> tuple[P, list[None]]:
        """A pool for one more call. It must be given back."""
        for shard in self._pools:
            if len(shard[1]) < CALLS_PER_POOL:
                break
        else:
            shard = (self._make(), [])
            self._pools.append(shard)
        shard[1].append(None)
        return shard

    def give(self, shard: tuple[P, list[None]]) -> Optional[P]:
        """Gives a pool back. A pool that comes out is no longer needed, and must be closed."""
        shard[1].pop()
        if shard not in self._pools:
            # It has been closed with all others.
            return None
        # One idle pool is kept, so that load around a multiple of the size does not open and close pools all the time.
        if not shard[1] and sum(not calls for _, calls in self._pools) > 2 and self._pools[0] is not shard:
            self._pools.remove(shard)
            return shard[0]
        return None

    def clear(self) -> list[P]:
        """All pools; they must be closed."""
        pools, self._pools = self._pools, []
        return [pool for pool, _ in pools]
