"""A small disk for each node: a file system in a file, which can be cut off from power, filled, and slowed down.

A process that is killed never shows a missing fsync: the kernel still has its data. A copy of the file behind the file
system, taken while the process stands still, has what a disk would have without power: what was synced, no more.
"""
from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import system

_SIZE_MIB = 384
# What is left when a disk is full: below the reserve of a node, above what makes it stop altogether.
_LEFT_BYTES = 20 << 20


class Disk:
    """The file system of one node."""

    def __init__(self, folder: Path, number: int) -> None:
        self.image = folder / f"disk-{number}.img"
        self.path = folder / f"disk-{number}"
        self._filler = self.path / "filler"
        self.path.mkdir()
        with self.image.open("wb") as file:
            file.truncate(_SIZE_MIB << 20)
        system.run("mkfs.ext4", "-q", "-F", str(self.image))
        self._mount()
        # What was made so far is not what a power cut is to lose.
        os.sync()

    def _mount(self) -> None:
        system.run("mount", "-o", "loop", str(self.image), str(self.path))

    def as_without_power(self) -> None:
        """Notes what the disk would hold if the power went now. The node must stand still."""
        system.run("cp", "--sparse=always", str(self.image), f"{self.image}.cut")

    def lose_power(self) -> None:
        """Takes the disk back to what was noted. Nothing may use it."""
        system.run("umount", str(self.path))
        os.replace(f"{self.image}.cut", self.image)
        self._mount()

    def fill(self) -> None:
        stat = os.statvfs(self.path)
        with self._filler.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, stat.f_bavail * stat.f_frsize - _LEFT_BYTES))

    def free_bytes(self) -> int:
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)

    def remove(self) -> None:
        with contextlib.suppress(system.Failed):
            system.run("umount", str(self.path))
        self.image.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)
