"""What an API costs that does nothing: one Flask route under waitress, with as many threads as ours.

As a program: prints its port, and serves until its stdin ends.
"""

from __future__ import annotations

import sys
import threading

from flask import Flask, Response, jsonify
from waitress.server import create_server

THREADS = 16


def app() -> Flask:
    made = Flask("bare", static_folder=None)

    @made.get("/guard")
    def guard() -> Response:
        return jsonify({"held": [], "withdrawn": [], "limit": None, "lift": None, "blind": False})

    return made


def main() -> None:
    server = create_server(app(), host="127.0.0.1", port=0, threads=THREADS)
    print(server.effective_port, flush=True)
    threading.Thread(target=server.run, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
