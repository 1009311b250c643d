"""`make bench`: how fast Parlance relays an answer, beside the handler that everybody writes first, in one run.

    python bench/run.py             the whole, under two minutes
    python bench/run.py --quick     a first look, in about half a minute
    python bench/run.py --check     is every byte relayed? No figures worth reading

One emulated Messages API (upstream.py), one crowd of visitors (load.py), two relays after one another: Parlance with
its journal, limits and ledger on and its store on the same core, and plain Flask with the SDK's own streaming helper
(plain.py), which does nothing but relay. Each is one worker process on one core; upstream and visitors are on another.
`nobody` is the floor: the visitors ask the upstream itself, so its figures are what the bench measures of itself.

What is measured
    first text   from the visitor's request to the first delta, less the time that the upstream took for it
    lag          from the moment the upstream sent a delta to the moment the visitor had all of it
    held         so many answers were open at once, none failed, the 99th percentile of the lag was at most 100 ms and
                 that of the first text at most 250 ms
    CPU          of the relay's processes and its store, over the deltas relayed meanwhile
    KiB          resident memory of the relay, without its store, with the most visitors open, less what it had before
                 any came, over their number

How to read it: compare within one run. Machines differ, and one machine differs from hour to hour; the ratio between
two relays that were measured within the same two minutes is what stays. A 99th percentile of one run is a coarse
figure: run it twice before you believe a difference below a third.

Every answer is compared byte for byte with what the upstream said. A single wrong one ends the bench with status 1.
Linux only. Results also go to bench/out/, as full.json, quick.json or check.json.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from bench.upstream import Pace  # noqa: E402
from bench.usage import Processes  # noqa: E402
from parlance.store.embedded import tied  # noqa: E402

LAG_MOST_MS, FIRST_TEXT_MOST_MS = 100, 250
START_S, STOP_S, LOAD_S = 60.0, 10.0, 90.0
FOREIGN_MOST, HARNESS_MOST = 0.10, 0.85  # of a core; above these the figures say more about the machine

PARLANCE, PLAIN, NOBODY, RATIO = "Parlance", "plain Flask", "nobody", "ratio"

Result = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """So many visitors, answered at one pace; measured for `window_s` once all have come, which takes `ramp_s`."""

    name: str
    visitors: int
    pace: Pace
    ramp_s: float
    window_s: float


TALK = Pace(ttft_ms=300, deltas=60, gap_ms=30)
WARM = Run("warm-up", 8, Pace(ttft_ms=20, deltas=30, gap_ms=5), ramp_s=0.2, window_s=0.8)
PROFILES = {
    "full": [
        Run("1 visitor", 1, Pace(ttft_ms=50, deltas=10, gap_ms=10), ramp_s=0.0, window_s=5.0),
        *(Run(f"{visitors} visitors", visitors, TALK, ramp_s=2.0, window_s=3.0) for visitors in (50, 100, 200)),
        Run("20 long answers", 20, Pace(ttft_ms=300, deltas=300, gap_ms=10), ramp_s=1.0, window_s=3.0),
    ],
    "quick": [
        Run("1 visitor", 1, Pace(ttft_ms=50, deltas=10, gap_ms=10), ramp_s=0.0, window_s=2.0),
        Run("50 visitors", 50, TALK, ramp_s=1.0, window_s=2.0),
    ],
    "check": [
        Run("check", 8, Pace(ttft_ms=10, deltas=100, gap_ms=2, cut=True), ramp_s=0.0, window_s=0.5),
    ],
}


@dataclass(frozen=True)
class Peer:
    """A relay: how it is started, and how it is spoken to. `{port}`, `{upstream}`, `{run}` (a private folder) and
    `{secret}` are filled in, as in peers.toml. Without `start` there is none, and the upstream itself is asked."""

    label: str
    start: Sequence[str] = ()
    sidecars: Sequence[Sequence[str]] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    path: str = "/chat"
    open_path: str = ""
    framing: str = "relay"


def peers() -> list[Peer]:
    """Parlance is started as peers.toml says, so that this bench and the big one measure the same thing."""
    parlance = tomllib.loads((HERE / "peers.toml").read_text("utf-8"))["parlance"]
    plain = "-k gevent -w 1 --worker-connections 4000 --no-control-socket -b 127.0.0.1:{port} plain:app"
    return [
        Peer(
            PARLANCE,
            start=parlance["start"],
            sidecars=parlance["sidecars"],
            env=parlance["env"],
            open_path="/open",
        ),
        Peer(
            PLAIN,
            start=["{BENCH_PRODUCT}/.venv/bin/gunicorn", *plain.split()],
            env={"ANTHROPIC_API_KEY": "bench", "ANTHROPIC_BASE_URL": "{upstream}"},
            cwd=HERE,  # away from Parlance's gunicorn.conf.py
        ),
        Peer(NOBODY, path="/v1/messages", framing="messages-api"),
    ]


@dataclass(frozen=True)
class Relay:
    """A peer that runs: where it listens, and the processes that are it and its store."""

    peer: Peer
    port: int
    pids: Sequence[int] = ()
    store: Sequence[int] = ()


class Bench:
    """A private folder and an upstream, as a context manager. What is started on the way ends with its `with`."""

    def __init__(self) -> None:
        usable = sorted(os.sched_getaffinity(0))
        self.harness_core, self.peer_core = usable[0], usable[-1]  # the same, if there is but one
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Bench:
        with contextlib.ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            self.port, log = free_port(), self.folder / "upstream.log"
            command = [sys.executable, str(HERE / "upstream.py"), str(self.port)]
            self.upstream = stack.enter_context(process(command, self.harness_core, {}, log))
            wait_until_it_answers(self.port, self.upstream, log)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self, peer: Peer, runs: Sequence[Run]) -> dict[str, Result]:
        """The results of a peer by the names of the runs. It is started for them and ended after them."""
        with self._started(peer) as relay:
            self._load(relay, WARM)
            idle_kib = Processes(relay.pids).rss_kib()
            results = {run.name: self._load(relay, run) for run in runs}
        for run in runs:
            result = results[run.name]
            result["held"] = held(result)
            result["kib_per_stream"] = max(0, result["rss_kib"] - idle_kib) / run.visitors
        return results

    @contextlib.contextmanager
    def _started(self, peer: Peer) -> Iterator[Relay]:
        if not peer.start:
            yield Relay(peer, self.port)
            return
        port, folder = free_port(), Path(tempfile.mkdtemp(dir=self.folder))
        names = {
            "port": str(port),
            "upstream": f"http://127.0.0.1:{self.port}",
            "run": str(folder),
            "secret": secrets.token_hex(32),
            "BENCH_PRODUCT": str(ROOT),
        }
        env = {name: filled(value, names) for name, value in peer.env.items()}
        with contextlib.ExitStack() as stack:

            def start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
                words = [filled(word, names) for word in command]
                return stack.enter_context(process(words, self.peer_core, env, log, cwd=peer.cwd))

            store = [start(command, folder / "store.log").pid for command in peer.sidecars]
            relay = start(peer.start, folder / "relay.log")
            wait_until_it_answers(port, relay, folder / "relay.log")
            yield Relay(peer, port, [relay.pid], store)

    def _load(self, relay: Relay, run: Run) -> Result:
        """One run, in a process of its own on the harness's core."""
        self._set_pace(run.pace)
        plan = {
            "port": relay.port,
            "path": relay.peer.path,
            "open_path": relay.peer.open_path,
            "framing": relay.peer.framing,
            "visitors": run.visitors,
            "deltas": run.pace.deltas,
            "ttft_ms": run.pace.ttft_ms,
            "ramp_s": run.ramp_s,
            "window_s": run.window_s,
            "peer": relay.pids,
            "store": relay.store,
            "harness": [self.upstream.pid],
            "peer_core": self.peer_core,
            "harness_core": self.harness_core,
        }
        log = self.folder / "load.log"
        command = [sys.executable, str(HERE / "load.py"), json.dumps(plan)]
        with process(command, self.harness_core, {}, log, stdout=subprocess.PIPE) as load:
            out, _ = load.communicate(timeout=LOAD_S)
        if load.returncode:
            raise BenchFailed(f"The visitors of {relay.peer.label}, {run.name}, failed:\n{last_words(log)}")
        return dict(json.loads(out))

    def _set_pace(self, pace: Pace) -> None:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        link.request("POST", "/pace", json.dumps(asdict(pace)))
        link.getresponse().read()
        link.close()


class BenchFailed(Exception):
    """The bench itself could not do its work; says which part, and its last words."""


@contextlib.contextmanager
def process(
    command: Sequence[str],
    core: int,
    env: Mapping[str, str],
    log: Path,
    *,
    cwd: Path = ROOT,
    stdout: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, on one core, without this shell's settings; ended with all its children."""
    tie = tied()

    def prepare() -> None:
        tie()
        os.sched_setaffinity(0, {core})

    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    with log.open("ab") as out:
        started = subprocess.Popen(
            command,
            cwd=cwd,
            env={**kept, **env},
            stdin=subprocess.DEVNULL,
            stdout=out if stdout is None else stdout,
            stderr=out,
            start_new_session=True,
            preexec_fn=prepare,
        )
    try:
        yield started
    finally:
        end(started)


def end(started: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to end, and see to it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(started.pid, number)
            started.wait(STOP_S)
    if started.stdout:
        started.stdout.close()


def wait_until_it_answers(port: int, started: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not answers(port):
        if started.poll() is not None:
            raise BenchFailed(f"{started.args[0]} ended at once. Its last words:\n{last_words(log)}")
        if time.monotonic() > deadline:
            raise BenchFailed(f"{started.args[0]} did not answer within {START_S:.0f} s:\n{last_words(log)}")
        time.sleep(0.05)


def answers(port: int) -> bool:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request("GET", "/healthz")
        return link.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return text


def last_words(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])


# -- what came of it ---------------------------------------------------------------------------------------------------


def held(result: Result) -> bool:
    lag, first = result["lag_ms"], result["first_text_ms"]
    return bool(
        not result["failed"] and lag and first and lag["p99"] <= LAG_MOST_MS and first["p99"] <= FIRST_TEXT_MOST_MS
    )


HEAD = (
    "                                first text, ms       lag, ms     CPU, us   KiB per",
    "                                 p50      p99     p50      p99    /delta    stream   held",
)


def extremes(runs: Sequence[Run]) -> list[Run]:
    """The runs with the fewest and the most visitors; one, if they are the same."""
    ordered = sorted(runs, key=lambda run: run.visitors)
    return list(dict.fromkeys([ordered[0], ordered[-1]]))


def table(runs: Sequence[Run], results: Mapping[str, Mapping[str, Result]]) -> str:
    most = extremes(runs)[-1]
    lines = list(HEAD)
    for run in runs:
        rows = {label: figures(of[run.name], run, run is most) for label, of in results.items() if run.name in of}
        rows[RATIO] = ratios(rows[PARLANCE], rows[PLAIN])
        for number, label in enumerate((PARLANCE, PLAIN, RATIO, NOBODY)):
            if label in rows:
                answer = results[label][run.name]["held"] if label in results else None
                lines.append(line(run.name if number == 0 else "", label, rows[label], answer))
        lines.append("")
    return "\n".join(lines)


def figures(result: Result, run: Run, with_memory: bool) -> list[float | None]:
    """The columns of the table. CPU is shown where there is enough of it to be counted, memory once."""
    first, lag = result["first_text_ms"] or {}, result["lag_ms"] or {}
    relayed = result["relay_core"] > 0
    return [
        *(first.get("p50"), first.get("p99"), lag.get("p50"), lag.get("p99")),
        result["cpu_us_per_delta"] if relayed and run.visitors > 1 else None,
        result["kib_per_stream"] if relayed and with_memory and run.visitors > 1 else None,
    ]


def ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float | None]:
    return [a / b if a is not None and b else None for a, b in zip(ours, theirs, strict=True)]


def line(run: str, label: str, values: Sequence[float | None], held: bool | None) -> str:
    digits = 2 if label == RATIO else 1
    cells = [("" if value is None else f"{value:.{digits}f}").rjust(9) for value in values]
    said = "" if held is None else "yes" if held else "no"
    return (f"{run:16}  {label:11}".ljust(28) + "".join(cells) + said.rjust(7)).rstrip()


def notes(results: Mapping[str, Mapping[str, Result]], shared: bool) -> list[str]:
    """What a reader has to know to believe the table, or not to."""
    said = [f"ratio: {PARLANCE} over {PLAIN}; below 1, {PARLANCE} is ahead. {NOBODY}: the bench without a relay."]
    if shared:
        said.append("This machine has one core for all: the lags are those of upstream and visitors too.")
    every = {f"{label}, {name}": result for label, of in results.items() for name, result in of.items()}
    noisy = {where: result["foreign_core"] for where, result in every.items() if result["foreign_core"] > FOREIGN_MOST}
    if noisy:
        said.append(
            f"Other programs used up to {max(noisy.values()):.0%} of a core during {len(noisy)} of {len(every)}"
            " measurements: try again when they rest."
        )
    for where, result in every.items():
        if result["harness_core"] > HARNESS_MOST:
            said.append(f"{where}: upstream and visitors used {result['harness_core']:.0%} of their core: the limit.")
        said += [f"WRONG: {where}: {failure}" for failure in result["failures"]]
    return said


def failed(results: Mapping[str, Mapping[str, Result]]) -> bool:
    """Whether anybody was given a wrong answer, or nobody any."""
    return any(result["failed"] or not result["answers"] for of in results.values() for result in of.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quick", dest="profile", action="store_const", const="quick", default="full")
    choice.add_argument("--check", dest="profile", action="store_const", const="check")
    parser.add_argument("--out", type=Path, default=HERE / "out", help="the folder for the results as JSON")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    try:
        return bench(asked.profile, asked.out)
    except BenchFailed as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def bench(profile: str, out: Path) -> int:
    runs, results = PROFILES[profile], {}
    with Bench() as bench:
        for peer in peers():
            sys.stderr.write(f"measuring {peer.label} ...\n")
            results[peer.label] = bench.measure(peer, runs if peer.start else extremes(runs))
        shared = bench.harness_core == bench.peer_core
    when = time.strftime("%Y-%m-%d %H:%M")
    about = {"when": when, "profile": profile, "python": platform.python_version(), "cores": os.cpu_count()}
    out.mkdir(parents=True, exist_ok=True)
    data = {**about, "runs": [asdict(run) for run in runs], "results": results}
    (out / f"{profile}.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    said = [f"{when}, Python {about['python']}, one worker on one core each", "", table(runs, results)]
    sys.stdout.write("\n".join([*said, *notes(results, shared), ""]))
    return 1 if failed(results) else 0


if __name__ == "__main__":
    sys.exit(main())
