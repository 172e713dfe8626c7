"""`POST /command`: one command of ExaBGP's, as an operator gives it himself; `GET /command`: what stands of them.

The command is read into a value of ours and written anew from that; nothing of the text reaches ExaBGP.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, jsonify

from exabgp_bfd.core import spoken
from exabgp_bfd.core.model import ByHand, ByHandView, ConfigError, Order, OwnedError, SpeakerError, StoreError
from exabgp_bfd.core.neighbors import NOT_SEEN
from exabgp_bfd.core.spoken import Question, SpokenError
from exabgp_bfd.web import bodies, documents, rehearsal
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import actor, needs
from exabgp_bfd.web.problems import STORE_RETRY, Problem, misconfigured, pointed
from exabgp_bfd.web.queries import HandFilter, Page, parse

logger = logging.getLogger(__name__)

SAID_WITHIN: Final = 5.0
"""Seconds that a command has to reach ExaBGP's pipe and our disk."""
ANSWERED_WITHIN: Final = 12.0
"""Seconds that ExaBGP's answer is waited for, whatever its own patience is: a client does not wait much longer."""
SEEN_WITHIN: Final = 2.0
"""Seconds that the UPDATEs are waited for once ExaBGP has answered."""
LOOK_EVERY: Final = 0.02
QUESTION_PAUSE: Final = 1.0
"""Seconds between two questions: ExaBGP does nothing else while it answers."""


def blueprint(backend: Backend) -> Blueprint:
    """The commands' endpoints."""
    api = Blueprint("command", __name__)
    turn = _Turn()

    @api.get("/command")
    @needs("read")
    def by_hand() -> Response:
        """What operators announced by hand and what became of it; for a minute also what they withdrew."""
        chosen = parse(HandFilter)
        page = Page.of(backend.snapshot().by_hand, lambda view: view.order.target.key, chosen.cursor, chosen.size)
        return page.answer("commands", documents.by_hand)

    @api.post("/command")
    @needs("admin")
    def command() -> Response:
        """Says one command to ExaBGP, and tells what came of it: {command, reason, ttl or expires, dry_run}.

        What is announced stands until it is withdrawn here or its time is over; GET /command tells of it.
        """
        dry_run = rehearsal.asked()
        body = bodies.read(bodies.Commanding)
        dry_run = dry_run or body.dry_run
        try:
            said = spoken.read(body.command)
        except SpokenError as error:
            place = {**pointed("/command", error.text), "place": f"column {error.column}"}
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"the command is not sent: {error}", errors=[place]
            ) from error
        lasts = body.ttl is not None or body.expires is not None
        if lasts and (isinstance(said, Question) or not said.announce):
            bodies.refuse([pointed("/ttl" if body.ttl is not None else "/expires", "goes with an announce only")])
        if isinstance(said, Question):
            return jsonify(_rehearsed(said) if dry_run else _asked(backend, said, body.reason or "", turn))
        _, now = backend.clock()
        what = ByHand(said.target, said.announce, actor(), body.reason or "", since=now / 1e6, expires=body.end(now))
        if dry_run:
            return jsonify(rehearsal.of(backend, Order(what)))
        with turn.taken(), _told_why():
            return jsonify(_commanded(backend, what))

    return api


class _Turn:
    """One command at a time: each may wait for ExaBGP for seconds, and overrides must not wait behind them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = float("-inf")

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While a command is under way; raises a 503 Problem where another one is."""
        if not self._lock.acquire(blocking=False):
            detail = "another command waits for ExaBGP's answer; ask again in a moment"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=1)
        try:
            yield
        finally:
            self._lock.release()

    def note_question(self) -> None:
        """A question is asked now; raises a 503 Problem where the last one was just before."""
        if time.monotonic() < self._asked + QUESTION_PAUSE:
            detail = f"ExaBGP is asked once in {QUESTION_PAUSE:g} s, for it does nothing else while it answers"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=1)
        self._asked = time.monotonic()


def _rehearsed(question: Question) -> dict[str, Any]:
    lines = {"4": [question.value], "5": [question.value]}
    if question is Question.VERSION:
        lines["6"] = ["system version"]
    return {"dry_run": True, "commands": [], "lines": lines, "dialect": None, "refused": None}


def _asked(backend: Backend, question: Question, reason: str, turn: _Turn) -> dict[str, Any]:
    with turn.taken(), _told_why():
        turn.note_question()
        heard = backend.ask_exabgp(question, actor(), reason, ANSWERED_WITHIN)
    return {
        "event": heard.event,
        "lines": [heard.line],
        "answer": documents.ANSWERS[heard.outcome],
        "text": list(heard.lines),
        "complete": heard.complete,
    }


def _commanded(backend: Backend, what: ByHand) -> dict[str, Any]:
    said = backend.command(what, SAID_WITHIN)
    view = _came_of(backend, what, said.event)
    seen = view if view is not None and (view.route.event or 0) > said.event else None
    return {
        "event": said.event,
        "lines": list(said.lines),
        "answer": "none" if seen is None or seen.outcome is None else documents.ANSWERS[seen.outcome],
        "text": [seen.text] if seen is not None and seen.text else [],
        "confirmed": [] if seen is None else list(seen.route.confirmed),
        "missing": {} if seen is None else dict(seen.missing),
        "route": None if view is None else documents.by_hand(view),
    }


def _came_of(backend: Backend, what: ByHand, event: int) -> ByHandView | None:
    """What is known of a command, once ExaBGP has answered it and its UPDATEs were seen, or the time is over."""
    answered, seen = time.monotonic() + ANSWERED_WITHIN, float("inf")
    while True:
        try:
            views = backend.snapshot().by_hand
        except TimeoutError:
            return None
        view = next((each for each in views if each.order.target.key == what.target.key), None)
        now = time.monotonic()
        if view is not None and (view.route.event or 0) > event:
            if view.outcome is not None or not view.answers:
                seen = min(seen, now + SEEN_WITHIN)
            waits = any(why == NOT_SEEN for _, why in view.missing)
            if view.outcome is not None and not waits:
                return view
        if now >= min(answered, seen):
            return view
        time.sleep(LOOK_EVERY)


@contextmanager
def _told_why() -> Iterator[None]:
    """Turns what a command may meet with into a Problem."""
    try:
        yield
    except OwnedError as error:
        errors = [{"place": error.place, "detail": error.text}]
        raise Problem(HTTPStatus.CONFLICT, error.text, errors=errors) from error
    except ConfigError as error:
        raise misconfigured(error) from error
    except SpeakerError as error:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after=STORE_RETRY) from error
    except StoreError as error:
        detail = f"the journal refused: {error}; it may have been said nevertheless: GET /command tells"
        logger.warning("a command: %s", detail)
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=STORE_RETRY) from error
    except TimeoutError as error:
        detail = f"it was not done in time ({error}); it may have been said nevertheless: GET /command tells"
        logger.warning("a command: %s", detail)
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=STORE_RETRY) from error
