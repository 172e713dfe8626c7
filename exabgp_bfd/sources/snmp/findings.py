"""What a survey found, as an operator reads it: text, JSON, and the configuration to paste. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from exabgp_bfd.core.model import State
from exabgp_bfd.sources.snmp.detect import Detected
from exabgp_bfd.sources.snmp.survey import Found, Survey, View
from exabgp_bfd.sources.snmp.target import Target

_EXAMPLES = 16  # sessions named in the example of a service; more are `device/*`
_PREFIX = "192.0.2.53/32"  # RFC 5737: for documentation, so that nobody announces it by mistake

_WITHOUT_TABLE = {
    "1.3.6.1.4.1.30065": "Arista EOS",
    "1.3.6.1.4.1.674": "Dell",
    "1.3.6.1.4.1.6027": "Dell (Force10)",
    "1.3.6.1.4.1.12356": "Fortinet",
    "1.3.6.1.4.1.14988": "MikroTik",
    "1.3.6.1.4.1.25461": "Palo Alto (it sends BFD traps only)",
    "1.3.6.1.4.1.40310": "Cumulus Linux",
    "1.3.6.1.4.1.8072.3.2": "net-snmp on a host, perhaps with FRR or BIRD",
}
"""sysObjectIDs of platforms in whose published MIBs no BFD session table is known."""
_WORDS = ("Arista", "FortiGate", "FortiOS", "RouterOS", "MikroTik", "Force10", "Cumulus", "FRR", "PAN-OS")
"""What sysDescr of such platforms may say."""
_BY_CONTEXT = {"1.3.6.1.4.1.9.": "Cisco", "1.3.6.1.4.1.2636.": "Juniper"}
"""sysObjectIDs of platforms that show the sessions of a VRF in an SNMP context of its own."""

_ALTERNATIVES = {"peer_type", "local_type", "peer_inet", "peer6", "local6", "vrf_id", "interface_name"}
"""Cells that nobody misses where others say the same."""

_COLOURS = {State.UP: "32", State.DOWN: "31", State.FAILING: "31", State.INIT: "33", State.ADMIN_DOWN: "33"}


# --- text -----------------------------------------------------------------------------------------------------------


def lines(survey: Survey, written: Mapping[str, str] | None = None, *, colour: bool = False) -> Iterator[str]:
    """The survey for a terminal; `written` are the `env:` and `file:` forms in which secrets were given."""
    target, detected = survey.target, survey.detected
    yield f"{survey.name} at {target.at}, asked with SNMP version {target.version} by {survey.engine}"
    if detected is not None:
        yield from _device_lines(detected)
    for view in survey.views:
        yield ""
        yield _view_line(view)
        if view.sessions:
            yield ""
            yield from _session_lines(view.sessions, colour=colour)
        yield from (f"note: {note}" for note in notes(view))
    advice = () if survey.sessions else without_sessions(survey)
    if advice:
        yield ""
        yield "What to try:"
        yield from (f"  {each}" for each in advice)
    yield ""
    yield from configuration(survey, written)


def _device_lines(detected: Detected) -> Iterator[str]:
    if detected.description is not None:
        yield f"  {detected.description}"
    told = [f"sysObjectID {detected.object_id}"] if detected.object_id is not None else []
    if detected.up_time is not None:
        told.append(f"up for {span(detected.up_time / 100)}")
    if told:
        yield f"  {', '.join(told)}"


def _view_line(view: View) -> str:
    where = f"context {view.context}: " if view.context else ""
    if view.detected is None:
        return f"{where}no answer"
    if view.profile is None:
        empty = f"; there, but empty: {_titles(view.detected.empty)}" if view.detected.empty else ""
        return f"{where}no BFD table with a session in it{empty}"
    count = len(view.sessions)
    up = sum(found.state is State.UP for found in view.sessions)
    table = f"{view.profile.title} (profile {view.profile.name})"
    return f"{where}{count} BFD {'session' if count == 1 else 'sessions'} in {table}, {up} of them up"


def _titles(profiles: Iterable[Any]) -> str:
    return ", ".join(f"{profile.title} ({profile.name})" for profile in profiles)


def _session_lines(sessions: Sequence[Found], *, colour: bool) -> Iterator[str]:
    """The sessions as aligned columns; a column of which nothing is known is left out."""
    rows = [_cells(found) for found in sessions]
    titles = [title for title in rows[0] if any(row[title] for row in rows)]
    widths = {title: max(len(title), *(len(row[title]) or 1 for row in rows)) for title in titles}
    yield "  ".join(title.ljust(widths[title]) for title in titles).rstrip()
    for found, row in zip(sessions, rows, strict=True):
        shown = []
        for title in titles:
            cell = (row[title] or "-").ljust(widths[title])
            if colour and title == "STATE" and found.state in _COLOURS:
                cell = f"\x1b[{_COLOURS[found.state]}m{cell}\x1b[0m"
            shown.append(cell)
        yield "  ".join(shown).rstrip()


def _cells(found: Found) -> dict[str, str]:
    session, told = found.session, found.details

    def number(cell: str) -> str:
        return str(told.get(cell, ""))

    return {
        "SESSION": session.name,
        "PEER": str(session.peer or "") if session.name != str(session.peer) else "",
        "STATE": found.state.value,
        "FOR": span(found.since) if found.since is not None else "",
        "DIAGNOSTIC": (found.diagnostic or "").replace("_", " "),
        "LAST DOWN BY": number("last_diagnostic").replace("_", " "),
        "LOCAL": str(session.local or ""),
        "INTERFACE": session.interface or "",
        "VRF": session.vrf or "",
        "HOPS": {True: "multi", False: "single", None: ""}[session.multihop],
        "LOCAL ID": "" if session.discriminator is None else str(session.discriminator),
        "REMOTE ID": number("remote_discriminator"),
        "TX/RX": _pair(_milliseconds(told.get("min_tx")), _milliseconds(told.get("min_rx"))),
        "AGREED": _pair(_milliseconds(told.get("negotiated_tx")), _milliseconds(told.get("negotiated_rx"))),
        "MULT": number("multiplier"),
        "LAST UP": number("last_up_text"),
        "LAST DOWN": number("last_down_text"),
        "UPS": number("up_count"),
        "DOWNS": number("down_count"),
    }


def _pair(one: str, other: str) -> str:
    if one == other or not other:
        return one
    return f"{one or '?'}/{other}"


def _milliseconds(microseconds: int | str | None) -> str:
    return f"{microseconds / 1000:g}ms" if isinstance(microseconds, int) else ""


def span(seconds: float) -> str:
    """A time as its two largest units: `12d 3h`, `45s`."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return " ".join(parts[:2])


# --- what an operator should know -----------------------------------------------------------------------------------


def notes(view: View) -> tuple[str, ...]:
    """What is worth knowing of a context that was read, each in a sentence."""
    told = list(view.notes)
    if view.detected is not None and view.profile is not None:
        others = [profile for profile in (view.detected.profile, *view.detected.others) if profile is not None]
        others = [profile for profile in others if profile != view.profile]
        if others:
            told.append(f"there are sessions in other tables, too, which are not read: {_titles(others)}")
    if view.missing:
        told.append(
            f"no column for {', '.join(cell.replace('_', ' ') for cell in view.missing)}, though the MIB has it"
        )
    if view.notifications is False:
        told.append("it sends no BFD notifications (they are switched off), so a failure is seen at the next poll")
    if view.notifications is True:
        told.append("it sends BFD notifications, if it is told where to: see [traps]")
    return tuple(told)


def without_sessions(survey: Survey) -> tuple[str, ...]:
    """Why a device that answers may show no session, and what to try; the platform is a hint, and decides nothing."""
    detected = survey.detected
    object_id, description = "", ""
    if detected is not None:
        object_id, description = detected.object_id or "", detected.description or ""
    told = []
    if any(view.detected is not None and view.detected.empty for view in survey.views):
        told.append("its BFD MIB is there without a session: is BFD configured, and has a session come up since?")
    for start, platform in _WITHOUT_TABLE.items():
        if f"{object_id}.".startswith(f"{start}."):
            told.append(f"its sysObjectID is of {platform}: no BFD session table is known of it")
            break
    else:
        told += [
            f"its sysDescr says {word}: no BFD session table is known of that platform"
            for word in _WORDS
            if re.search(rf"\b{re.escape(word)}\b", description, re.IGNORECASE)
        ][:1]
    told.append("a view may hide it: the community, or the user's group, must be allowed to read the BFD MIB")
    by_context = next((name for start, name in _BY_CONTEXT.items() if object_id.startswith(start)), None)
    told.append(
        f"sessions in a VRF may be visible in its SNMP context only{f' ({by_context})' if by_context else ''}: "
        + ("--context NAME" if survey.target.version == "3" else "--context NAME=COMMUNITY")
    )
    if survey.target.profile == "auto":
        told.append('a table that is not known here can be read with profile = "oid", if one column has the states')
    return tuple(told)


def remedies(target: Target, trouble: str) -> list[str]:
    """What to try where a device does not answer at all, for the `trouble` that there was."""
    if "resolved" in trouble:
        return []
    if "refused" in trouble:
        return [f"is its SNMP agent running, and on UDP port {target.port}? write HOST:PORT for another"]
    if target.version == "3":
        credentials = "are the user, its protocols and its keys as the device has them? --user, --auth-..., --priv-..."
    else:
        credentials = "is the community right? --community TEXT, or the variable SNMP_COMMUNITY; no other is answered"
    told = [
        credentials,
        f"is SNMP version {target.version} enabled there? --snmp-version 1, 2c or 3",
        f"may this host ask it? access lists, firewalls, management VRFs; UDP port {target.port}",
    ]
    if target.context or target.contexts:
        told.append("does the context exist, and is it mapped? try without --context")
    longer, more = max(5.0, 2 * target.timeout), max(3, target.retries)
    return [*told, f"is it slow, or the way to it lossy? --timeout {longer:g} --retries {more}"]


# --- the configuration to paste -------------------------------------------------------------------------------------


def configuration(survey: Survey, written: Mapping[str, str] | None = None) -> Iterator[str]:
    """The `[[device]]` and `[[service]]` tables, with comments; secrets by `written`, else by a variable's name."""
    yield from _device_table(survey, written or {})
    yield ""
    yield from _service_table(survey)


def _device_table(survey: Survey, written: Mapping[str, str]) -> Iterator[str]:
    target = survey.target
    yield "[[device]]"
    yield f"name = {_toml(survey.name)}"
    yield f"host = {_toml(target.host)}"
    if target.port != 161:
        yield f"port = {target.port}"
    if target.version != "2c":
        yield f"version = {_toml(target.version)}"
    if target.version == "3":
        yield from _user_keys(target, written)
    else:
        yield from _secret_key("community", written.get("community"), "SNMP_COMMUNITY")
    yield from _context_keys(target, written)
    if target.engine != "auto":
        yield f"engine = {_toml(target.engine)}"
    if target.profile != "auto":
        yield f"profile = {_toml(target.profile)}"
        return
    found = dict.fromkeys(view.profile.name for view in survey.views if view.profile is not None)
    if found:
        yield f'profile = "auto"  # {", ".join(found)} was found now, and will be again'


def _user_keys(target: Target, written: Mapping[str, str]) -> Iterator[str]:
    user = target.user
    if user is None:
        return
    yield f"user = {_toml(user.name)}"
    if user.auth_protocol is not None:
        yield f"auth_protocol = {_toml(user.auth_protocol)}"
        yield from _secret_key("auth_key", written.get("auth_key"), "SNMP_AUTH_KEY")
    if user.priv_protocol is not None:
        yield f"priv_protocol = {_toml(user.priv_protocol)}"
        yield from _secret_key("priv_key", written.get("priv_key"), "SNMP_PRIV_KEY")


def _secret_key(key: str, written: str | None, variable: str) -> Iterator[str]:
    if written is not None:
        yield f"{key} = {_toml(written)}"
    else:
        yield f'{key} = "env:{variable}"  # export it where ExaBGP is started, or write "file:PATH"'


def _context_keys(target: Target, written: Mapping[str, str]) -> Iterator[str]:
    if not target.contexts:
        return
    yield f"contexts = [{', '.join(_toml(context.name) for context in target.contexts)}]"
    communities = []
    for context in target.contexts:
        if context.community is not None:
            variable = re.sub(r"[^A-Z0-9]+", "_", context.name.upper()) or "DEFAULT"
            community = written.get(f"community {context.name}", f"env:SNMP_COMMUNITY_{variable}")
            communities.append(f"{_toml(context.name)} = {_toml(community)}")
    if communities:
        yield f"context_communities = {{ {', '.join(communities)} }}"


def _service_table(survey: Survey) -> Iterator[str]:
    names = [found.session.id for found in survey.sessions if found.state is State.UP]
    names = names or [found.session.id for found in survey.sessions]
    yield "[[service]]"
    yield 'name = "example"'
    yield f'prefixes = ["{_PREFIX}"]  # for documentation (RFC 5737): write your anycast prefixes instead'
    if 0 < len(names) <= _EXAMPLES:
        yield "sessions = ["
        yield from (f"  {_toml(name)}," for name in names)
        yield "]"
    else:
        yield f"sessions = [{_toml(f'{survey.name}/*')}]"
    yield 'require = "any"  # of them up; or "all", or how many'


def _toml(text: str) -> str:
    """A basic string of TOML; what JSON escapes is escaped alike there, but for surrogates, which are not made here."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


# --- JSON -----------------------------------------------------------------------------------------------------------


def document(survey: Survey, written: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The survey as plain values."""
    target, detected = survey.target, survey.detected
    return {
        "at": target.at,
        "version": target.version,
        "engine": survey.engine,
        "device": {
            "name": survey.name,
            "sys_name": detected.name if detected is not None else None,
            "description": detected.description if detected is not None else None,
            "object_id": detected.object_id if detected is not None else None,
            "up_time_seconds": _seconds(detected),
        },
        "contexts": [_view_document(view) for view in survey.views],
        "remedies": [] if survey.sessions else list(without_sessions(survey)),
        "configuration": "\n".join(configuration(survey, written)) + "\n",
    }


def _seconds(detected: Detected | None) -> float | None:
    return detected.up_time / 100 if detected is not None and detected.up_time is not None else None


def _view_document(view: View) -> dict[str, Any]:
    detected = view.detected
    return {
        "context": view.context,
        "answered": detected is not None,
        "profile": view.profile.name if view.profile is not None else None,
        "mib": view.profile.title if view.profile is not None else None,
        "others": [profile.name for profile in detected.others] if detected is not None else [],
        "empty": [profile.name for profile in detected.empty] if detected is not None else [],
        "missing": list(view.missing),
        "notifications": view.notifications,
        "notes": list(notes(view)),
        "sessions": [session_document(found) for found in view.sessions],
    }


def session_document(found: Found) -> dict[str, Any]:
    """A session as plain values; times in microseconds, `for_seconds` how long it has been in its state."""
    session = found.session
    return {
        "id": session.id,
        "name": session.name,
        "peer": str(session.peer) if session.peer is not None else None,
        "local": str(session.local) if session.local is not None else None,
        "interface": session.interface,
        "vrf": session.vrf,
        "multihop": session.multihop,
        "index": found.index,
        "state": found.state.value,
        "diagnostic": found.diagnostic,
        "for_seconds": found.since,
        "discriminator": session.discriminator,
        **found.details,
    }
