"""`/devices`: the routers that are polled, those of the configuration and those that are added while we run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from flask import Blueprint, Response, jsonify

from exabgp_bfd.core.model import ConfigError, State
from exabgp_bfd.core.written import ConflictError, Deed, DeviceChange, DeviceChanged, DeviceShown, NoSuchDeviceError
from exabgp_bfd.web import bodies, documents, orders
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import actor, needs
from exabgp_bfd.web.problems import STORE_RETRY, Problem, pointed, pointer_token
from exabgp_bfd.web.queries import DeviceDeed, DeviceFilter, Page, parse, tag_of, tagged, unchanged

CHANGED_WITHIN: Final = 20.0
"""Seconds for checking a device, deciding by it, and reaching the disk."""
NAMED: Final = 10
"""How many devices are named to who asks for one that there is not."""


def blueprint(backend: Backend) -> Blueprint:
    """The inventory's endpoints."""
    api = Blueprint("devices", __name__)

    @api.get("/devices")
    @needs("read")
    def devices() -> Response:
        """Devices by name: how each is asked, and what it answers; origin, limit, cursor."""
        chosen = parse(DeviceFilter)
        page = Page.of(backend.inventory(chosen.origin), str, chosen.cursor, chosen.size)
        told = {each["name"]: each for each in _documents(backend, page.items)}
        page = Page([name for name in page.items if name in told], chosen.size, str, page.next_cursor)
        tag = tag_of(page.next_cursor, *told.values())
        return unchanged(tag) or tagged(page.answer("devices", told.__getitem__), tag)

    @api.post("/devices")
    @needs("admin")
    def add() -> Response:
        """Adds a device, which is polled at once and kept over restarts: the keys of a [[device]] table."""
        asked = parse(DeviceDeed)
        body = bodies.read(bodies.DeviceAdding).written()
        done = _done(backend, DeviceChange(Deed.ADD, None, actor(), body, asked.dry_run, asked.force))
        return _answer(backend, done, asked)

    @api.get("/devices/<name>")
    @needs("read")
    def device(name: str) -> Response:
        """One device: how it is asked, what it answers, and which services follow it."""
        document = _document(backend, name)
        if document is None:
            raise _unknown(backend, name)
        tag = tag_of(document)
        return unchanged(tag) or tagged(jsonify(document), tag)

    @api.put("/devices/<name>")
    @needs("admin")
    def put(name: str) -> Response:
        """Puts a device in the place of the one of its name, or adds it; stars stand for a secret that stays."""
        asked = parse(DeviceDeed)
        body = bodies.read(bodies.DevicePutting).written()
        done = _done(backend, DeviceChange(Deed.PUT, name, actor(), body, asked.dry_run, asked.force))
        return _answer(backend, done, asked)

    @api.delete("/devices/<name>")
    @needs("admin")
    def remove(name: str) -> Response:
        """Removes a device that was added over HTTP; it is refused where a route would go with it, unless force."""
        asked = parse(DeviceDeed)
        done = _done(backend, DeviceChange(Deed.REMOVE, name, actor(), {}, asked.dry_run, asked.force))
        return _answer(backend, done, asked, gone=True)

    return api


def _done(backend: Backend, change: DeviceChange) -> DeviceChanged:
    """Has a device changed; raises a 404, 409, 422 or 503 Problem."""
    try:
        return backend.change_device(change, CHANGED_WITHIN)
    except NoSuchDeviceError:
        raise _unknown(backend, change.name or "") from None
    except ConflictError as error:
        errors = [{"place": place, "detail": text} for place, text in error.faults]
        raise Problem(HTTPStatus.CONFLICT, str(error), errors=errors) from error
    except ConfigError as error:
        raise _refused(error, change) from None  # what was sent may hold secrets, and is nobody's context
    except TimeoutError as error:
        detail = f"it was not on disk within {CHANGED_WITHIN:g} seconds; it may hold nevertheless: look before again"
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=STORE_RETRY) from error


def _refused(error: ConfigError, change: DeviceChange) -> Problem:
    """A 422 with the place of each fault: in the body, or in the configuration that the device takes it over from."""
    said = change.written.get("name")
    name = change.name or (said if isinstance(said, str) else "")
    errors = []
    for fault in getattr(error, "errors", (error,)):
        inside = fault.place.startswith(f"device {name}")
        key = fault.place.removeprefix(f"device {name}").removeprefix(".")
        errors.append(
            pointed("".join(f"/{pointer_token(part)}" for part in _steps(key)), fault.text)
            if inside
            else {"place": fault.place, "detail": fault.text}
        )
    told = "; ".join(f"{each.get('pointer', each.get('place'))} {each['detail']}" for each in errors[:5])
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"the device cannot be: {told}", errors=errors[:50])


def _steps(key: str) -> list[str]:
    """`contexts[1]` and `context_communities.red`, by their steps."""
    head, dot, rest = key.partition(".")
    name, bracket, index = head.partition("[")
    return [part for part in (name, index.rstrip("]") if bracket else "", rest if dot else "") if part]


def _answer(backend: Backend, done: DeviceChanged, asked: DeviceDeed, *, gone: bool = False) -> Response:
    """What became of a device, or would; the device as it is now where it is."""
    device = None if gone or (asked.dry_run and done.created) else _document(backend, done.name, anew=True)
    more: dict[str, Any] = {"dry_run": True} if asked.dry_run else {}
    change = documents.preview(done.preview)
    response = jsonify({"event": done.event, "device": device, "commands": change["commands"], **more})
    if done.created and not asked.dry_run:
        response.status_code = HTTPStatus.CREATED
        response.headers["Location"] = f"/devices/{quote(done.name, safe='')}"
    return response


def _document(backend: Backend, name: str, *, anew: bool = False) -> dict[str, Any] | None:
    """A device as it is now, None where there is none."""
    return next(iter(_documents(backend, [name], anew=anew)), None)


def _documents(backend: Backend, names: Sequence[str], *, anew: bool = False) -> list[dict[str, Any]]:
    found: Sequence[DeviceShown] = backend.shown_devices(names)
    snapshot = (orders.seen(backend) if anew else None) or backend.snapshot()
    calendar = documents.Calendar(*backend.clock())
    views = {view.name: view for view in snapshot.devices}
    wanted = {each.name for each in found}
    up = Counter(
        view.session.device for view in snapshot.sessions if view.session.device in wanted and view.state is State.UP
    )
    return [documents.device(each, views.get(each.name), up[each.name], calendar) for each in found]


def _unknown(backend: Backend, name: str) -> Problem:
    names = sorted(backend.devices())
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    detail = f"there is no device {name[:100]!r}; there are {', '.join(names[:NAMED])}{more}"
    return Problem(HTTPStatus.NOT_FOUND, detail, errors=[{"place": name[:100], "detail": detail}])
