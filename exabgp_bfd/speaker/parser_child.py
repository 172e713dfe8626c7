"""What runs in the child process of `parser`: ExaBGP's own library, given a configuration and commands.

A script, not a module of ours: it imports nothing but ExaBGP, whose library keeps state in its classes, prints, and
ends the process where it likes. The question is a JSON document on stdin; the answer is one, written to the descriptor
that is the first argument. Commands go the way that they go in the daemon, by its own functions: the search for the
command, the selector, the parser, and the hand-over to each neighbour's table; no socket is opened.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

Document = dict[str, Any]
Theirs = Any
"""An object of the library, which has no types."""


def main() -> None:
    """Answers the question."""
    question = json.load(sys.stdin)
    try:
        answer = _answer(question)
    except ImportError as error:
        answer = {"missing": str(error)}
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as out:
        json.dump(answer, out)


def _answer(question: Document) -> Document:
    from exabgp.logger import log  # type: ignore[import-untyped]  # noqa: PLC0415
    from exabgp.version import version  # type: ignore[import-untyped]  # noqa: PLC0415

    log.disable()
    answer: Document = {"version": version}
    configuration, answer["error"] = _configuration(question)
    if answer["error"]:
        return answer
    answer["processes"] = [
        {
            "name": name,
            "run": [str(word) for word in process["run"]],
            "encoder": str(process.get("encoder", "")),
            "respawn": bool(process.get("respawn", True)),
        }
        for name, process in configuration.processes.items()
        if process.get("run")
    ]
    answer["neighbors"] = [_neighbor(neighbor) for neighbor in configuration.neighbors.values()]
    if question["commands"]:
        answer["verdicts"] = _try(configuration, question["process"], question["commands"])
    return answer


def _configuration(question: Document) -> tuple[Theirs, str]:
    """ExaBGP's configuration, from a file or from text, and what is wrong with it."""
    from exabgp.configuration.configuration import Configuration  # type: ignore[import-untyped]  # noqa: PLC0415

    if question["text"] is not None:
        configuration = Configuration([question["text"]], text=True)
    else:
        # Said by us: ExaBGP's own word for a file that it cannot open is that there is no data.
        try:
            with open(question["file"], encoding="utf-8") as file:  # noqa: PTH123 (a name as it was given)
                file.read()
        except (OSError, ValueError) as error:
            return None, str(getattr(error, "strerror", None) or "it is no text in UTF-8")
        configuration = Configuration([question["file"]])
    if configuration.reload() is True:
        return configuration, ""
    return configuration, str(configuration.error) or "ExaBGP's parser refuses it, and says no reason"


def _neighbor(neighbor: Theirs) -> Document:
    """A neighbour as ExaBGP took it."""
    watchdogs = getattr(neighbor.rib.outgoing, "_watchdog", {})
    local = neighbor["local-address"]
    return {
        "address": str(neighbor["peer-address"]),
        "local": None if local is None or neighbor.auto_discovery else str(local),
        "families": [f"{afi} {safi}" for afi, safi in neighbor.families()],
        # Not its truth: `graceful-restart 0` is ExaBGP's word for "as long as hold-time".
        "graceful_restart": neighbor["capability"]["graceful-restart"] is not False,
        "adj_rib_out": bool(neighbor["adj-rib-out"]),
        "processes": list(neighbor.api["processes"]),
        "matched": list(neighbor.api.get("processes-match", ())),
        "told": {what: list(who) for what, who in neighbor.api.items() if not what.startswith("processes")},
        "watchdogs": {
            name: {"on": len(routes.get("+", ())), "off": len(routes.get("-", ()))}
            for name, routes in watchdogs.items()
        },
    }


# --- commands -----------------------------------------------------------------------------------------------------


class _Answers:
    """Stands for the daemon's pipes: keeps the one word that would have been written."""

    def __init__(self) -> None:
        self.said = ""
        self.reasons: list[str] = []

    def answer_done(self, *_: object) -> None:
        self.said = self.said or "done"

    def answer_error(self, *_: object) -> None:
        self.said = self.said or "error"


class _AtOnce:
    """Stands for the daemon's queue of things to do: each is done at once, and answered with `error` if it fails."""

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers

    def schedule(self, _service: str, _command: str, steps: Theirs) -> None:
        try:
            for _ in steps:
                pass
        except Exception as error:  # noqa: BLE001 (as the daemon does)
            self._answers.answer_error()
            self._answers.reasons.append(str(error))


class _Daemon:
    """As much of ExaBGP's reactor as a command asks for."""

    def __init__(self, configuration: Theirs) -> None:
        self.configuration = configuration
        self.processes = _Answers()
        self.asynchronous = _AtOnce(self.processes)
        self.refused: dict[str, str] = {}
        self.taken: list[str] = []
        inject = configuration.inject_change
        configuration.inject_change = lambda peers, change: self._inject(inject, peers, change)

    def peers(self, service: str = "") -> list[str]:
        """The neighbours that a process commands; as the daemon's own method does it."""
        return [
            name
            for name, neighbor in self.configuration.neighbors.items()
            if service in neighbor.api["processes"]
            or any(re.match(pattern, service) for pattern in neighbor.api.get("processes-match", ()))
        ]

    def _inject(self, inject: Theirs, peers: list[str], change: Theirs) -> bool:
        """One neighbour at a time: in the daemon the first that cannot take a route ends it for all after it."""
        for name in peers:
            address = str(self.configuration.neighbors[name]["peer-address"])
            try:
                if inject([name], change):
                    self.taken.append(address)
                else:
                    self.refused[address] = "the route's family is not configured for it"
            except Exception as error:  # noqa: BLE001 (whatever the daemon would have stumbled over)
                self.refused[address] = str(error)
        return bool(self.taken)


def _try(configuration: Theirs, process: str, commands: list[str]) -> list[Document]:
    from exabgp.configuration.core.format import formated  # type: ignore[import-untyped]  # noqa: PLC0415
    from exabgp.reactor.api import API  # type: ignore[import-untyped]  # noqa: PLC0415

    daemon = _Daemon(configuration)
    answers = daemon.processes

    class Tried(API):  # type: ignore[misc]
        """The daemon's own, with its reasons kept instead of logged."""

        def log_failure(self, message: str, *_: object) -> None:
            answers.reasons.append(f"{message} {self.configuration.error}")

        def log_message(self, *_: object) -> None:
            pass

    api = Tried(daemon)
    verdicts = []
    for command in commands:
        answers.said, answers.reasons, daemon.taken, daemon.refused = "", [], [], {}
        try:
            api.process(daemon, process, formated(command))
        except Exception as error:  # noqa: BLE001 (in the daemon nobody catches it)
            answers.said = "crash"
            answers.reasons.append(f"{type(error).__name__}: {error}")
        verdicts.append(
            {
                "answer": answers.said,
                "why": " ".join(" ".join(answers.reasons).split()),
                "taken": daemon.taken,
                "refused": daemon.refused,
            }
        )
    return verdicts


if __name__ == "__main__":
    main()
