"""What the kernel has counted for a few processes: CPU time and memory. Linux only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
PPID, UTIME, STIME, RSS = 1, 11, 12, 21  # places in /proc/PID/stat after the command's name


@dataclass(frozen=True)
class Used:
    """CPU seconds in a stretch of `seconds`. `foreign_s` is what others used of the busier of the two cores."""

    seconds: float
    peer_s: float
    store_s: float
    harness_s: float
    foreign_s: float


class Meter:
    """Counts from its making to `stop`, for three groups of processes on two cores, which may be one."""

    def __init__(
        self, peer: Iterable[int], store: Iterable[int], harness: Iterable[int], peer_core: int, harness_core: int
    ) -> None:
        self._groups = (Processes(peer), Processes(store), Processes(harness))
        self._cores = (peer_core, harness_core)
        self._began = self._read()

    def rss_kib(self) -> int:
        """Resident memory of the peer, without its store."""
        return self._groups[0].rss_kib()

    def stop(self) -> Used:
        seconds, peer, store, harness, *busy = (now - then for now, then in zip(self._read(), self._began, strict=True))
        ours = [peer + store, harness] if self._cores[0] != self._cores[1] else [peer + store + harness] * 2
        foreign = max(used - own for used, own in zip(busy, ours, strict=True))
        return Used(seconds, peer, store, harness, max(0.0, foreign))

    def _read(self) -> list[float]:
        cpu = [group.cpu_s() for group in self._groups]
        return [time.perf_counter(), *cpu, *(busy_s(core) for core in self._cores)]


class Processes:
    """Some processes and all their descendants, looked for once: later children are not among them."""

    def __init__(self, roots: Iterable[int]) -> None:
        parents = {pid: int(stat[PPID]) for pid in _running() if (stat := _stat(pid))}
        self.pids = set(roots)
        while more := {pid for pid, parent in parents.items() if parent in self.pids} - self.pids:
            self.pids |= more

    def cpu_s(self) -> float:
        """CPU seconds since they were started, user and system."""
        return sum(int(stat[UTIME]) + int(stat[STIME]) for stat in self._stats()) * TICK_S

    def rss_kib(self) -> int:
        """Resident memory; pages that several of them share count for each."""
        return sum(int(stat[RSS]) for stat in self._stats()) * PAGE_KIB

    def _stats(self) -> list[list[str]]:
        return [stat for pid in self.pids if (stat := _stat(pid))]


def busy_s(core: int) -> float:
    """Seconds for which a core has not been idle since the machine was started, whoever used it."""
    for line in Path("/proc/stat").read_text("ascii").splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _, _, *interrupts = map(int, ticks[:7])
            return (user + nice + system + sum(interrupts)) * TICK_S
    raise LookupError(f"no core {core}")


def _running() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []
