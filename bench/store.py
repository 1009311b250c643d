"""Becomes the embedded store's server, on `<folder>/store.sock`, with the settings that `make run` gives it."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from parlance.store.embedded import find_server

folder = Path(sys.argv[1])
server = str(find_server())
options = f"--port 0 --unixsocket {folder}/store.sock --dir {folder} --appendonly yes --appendfsync everysec --save"
os.execv(server, [server, *options.split(), "", "--maxmemory-policy", "noeviction"])
