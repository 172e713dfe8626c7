"""Several sites of one MongoDB: for each a process, the router that it asks, and the played ExaBGP that started it."""

from __future__ import annotations

import contextlib
import json
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from . import PATIENCE, wait_for
from .mongod import Mongod
from .process import SERVICE, Process, RouterThread, toml


def member_of_one(folder: Path) -> Mongod:
    """A mongod that is a replica set all by itself: it has change streams, and a primary at once."""
    server = Mongod(folder, "--replSet", "rs0").launch()
    member = {"_id": 0, "host": f"127.0.0.1:{server.port}"}
    with server.client(directConnection=True) as client:
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})

    def leads() -> bool:
        with contextlib.suppress(PyMongoError), server.client(directConnection=True) as client:
            return bool(client.admin.command("hello")["isWritablePrimary"])
        return False

    wait_for(leads, "a primary", timeout=2 * PATIENCE)
    return server


class Site:
    """One site; the service `dns` follows the one session of its own router."""

    def __init__(
        self,
        folder: Path,
        name: str,
        uri: str,
        *,
        heartbeat: float,
        fresh: float,
        more: str = "",
        keep_last: bool = True,
    ) -> None:
        self.name = name
        self.folder = folder
        folder.mkdir()
        self.router = RouterThread().start()
        self._settings = f"heartbeat = {heartbeat}\nfresh = {fresh}\n"
        self._uri = uri
        self._more = more
        self._keep_last = keep_last
        self._processes: list[Process] = []
        self.process = self._made()

    def _made(self) -> Process:
        process = Process(self.folder, toml="", name=f"{self.name}{len(self._processes)}")
        self._processes.append(process)
        self._write_toml(process)
        return process

    def _write_toml(self, process: Process) -> None:
        keep_last = "keep_last = true\n" if self._keep_last else ""
        process.write_toml(
            f'[site]\nname = "{self.name}"\n{self._settings}'
            f'[storage]\npath = "{process.journal}"\nmongodb = "{self._uri}"\n'
            f'[api]\nlisten = "127.0.0.1:{process.api_port}"\n'
            + toml(self.router.port, service=f"{SERVICE}{keep_last}{self._more}"),
            head=False,
        )

    def keep_last(self) -> None:
        """From now on its service asks to stay as the last: a reload by SIGHUP."""
        self._keep_last = True
        self._write_toml(self.process)
        self.process.signal(signal.SIGHUP)

    def start(self) -> Site:
        self.process.start()
        return self

    def again(self) -> Site:
        """The next process of this site, after the last one has ended."""
        self.process.stop()
        self.process = self._made()
        return self.start()

    @property
    def lines(self) -> list[str]:
        return self.process.lines

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and JSON of an answer of the API, asked with the key of this run."""
        key = (self.folder / "admin.key").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.process.api_port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"X-API-Key": key},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def announced_by(self) -> list[str]:
        """The fresh sites that announce `dns`, as this one hears it."""
        answer = self.process.get("/services?scope=all")
        return [name for each in answer["services"] for name in each["announced_by"]] if answer else []

    def count(self, event_type: str) -> int:
        return len(self.process.events(event_type=event_type))

    def stop(self) -> None:
        self.process.stop()
        self.router.stop()

    def faults(self) -> list[str]:
        """What none of its processes may have done."""
        return [fault for process in self._processes for fault in process.faults()]
