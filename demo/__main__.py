"""python -m demo --port 9000: the demo responder on its own, for tests and for a look with curl."""

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import contextlib  # noqa: E402

from demo.app import Demo  # noqa: E402
from demo.server import Server  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo", description="An emulated Messages API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes any free one and prints it")
    parser.add_argument("--pace", type=float, default=0.02, help="seconds before each word")
    given = parser.parse_args()
    server = Server(Demo(pace_s=given.pace, remember=10_000), given.host, given.port)
    print(f"Messages API (demo) at {server.url}", flush=True)  # noqa: T201
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
