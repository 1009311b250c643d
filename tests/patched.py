"""A pytest plugin that makes this process what a worker is: patched by gevent before anything imports ssl or socket.

`pytest -p tests.patched` (as `make test` does) loads it before every other plugin; a conftest.py would be too late.
"""

from gevent import monkey

monkey.patch_all()
