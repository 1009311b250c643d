"""How gunicorn runs Parlance: gevent workers that hold many open answers, end gracefully and are quiet.

`gunicorn` reads this file by itself: `gunicorn wsgi:application`. The environment is that of docs/settings.md.
"""

import contextlib
import gc
import os
import resource
import sys
from pathlib import Path

import gevent.socket
from gunicorn.workers.ggevent import GeventWorker

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from parlance.observe.logs import for_gunicorn
from parlance.settings import read

settings = read()


class PromptSocket(gevent.socket.socket):
    """A visitor's socket. What fits into the kernel's buffer, as a few words always do, is handed over in one call;
    gevent's own `sendall` asks for the buffer's size and the time before each, a tenth of what a delta costs."""

    __slots__ = ()

    def sendall(self, data, flags=0):
        try:
            sent = self._sock.send(data, flags)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            super().sendall(memoryview(data)[sent:], flags)


class PromptWorker(GeventWorker):
    def handle(self, listener, client, addr):
        client.__class__ = PromptSocket
        super().handle(listener, client, addr)



bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
backlog = 4096
workers = settings.workers
worker_class = PromptWorker
worker_connections = 20_000  # an open answer is a connection
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # the heartbeat must not wait for a disk
keepalive = 5  # also what a peer has to send its request's head; idle connections delay a stop by this much
timeout = 60  # a worker whose event loop stands still for so long is replaced; long answers do not count
graceful_timeout = settings.grace_s + 2  # answers have grace_s; what remains is for closing the journal and the ledger
preload_app = False  # what is imported before the fork would not be patched for gevent
control_socket_disable = True  # one fixed path for all instances, and a thread in the master
accesslog = None  # blueprints/access.py writes our own line
logconfig_dict = for_gunicorn()

# Read by prometheus_client when it is first imported, in each worker.
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(settings.data_dir / "metrics"))

# Each connection is a file; workers inherit this.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
with contextlib.suppress(ValueError, OSError):
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(_soft, min(_hard, 65_536) if _hard > 0 else 65_536), _hard))


def on_starting(server):
    """Counts begin anew with the server, not with a worker."""
    folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    for counts in folder.glob("*.db"):
        counts.unlink()


def post_worker_init(worker):
    """Starts what runs beside the requests. The 200,000 objects of the imports then leave the garbage collector's
    sight: looking at them would stop every stream of the worker for a tenth of a second."""
    _services(worker).start(lambda: worker.alive)
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 50, 100)


def worker_exit(server, worker):
    if services := _services(worker):
        services.stop()


def child_exit(server, worker):
    from parlance.observe.metrics import forget_worker  # late: it reads the variable set above

    forget_worker(worker.pid)


def _services(worker):
    """None where the application could not be loaded."""
    return getattr(worker, "wsgi", None) and worker.wsgi.extensions["parlance"]
