"""The plan held against ExaBGP itself: each command on its own parser, each route against each neighbour it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from pathlib import Path

from exabgp_bfd.core.model import (
    Address,
    Command,
    ConfigError,
    Peer,
    Plan,
    Route,
    Service,
    SpeakerError,
    Target,
    Watchdog,
)
from exabgp_bfd.core.reach import NO_SUCH_NEIGHBOR, family, reasons
from exabgp_bfd.outline import utterances
from exabgp_bfd.speaker import dialect, parser
from exabgp_bfd.speaker.dialect import Dialect, Speech
from exabgp_bfd.speaker.parser import ApiProcess, Conf, Configured, Trial, Verdict

_PROGRAM, _MODULE = "exabgp-bfd", "exabgp_bfd"
# Stand for neighbours of whom nothing is known: one for each family a BGP session can run over.
_ANYBODY = (Peer(IPv4Address("192.0.2.254")), Peer(IPv6Address("2001:db8::fe")))
_NOT_OURS = "our process is not among the processes of its api section"
_BOTH = frozenset({"ipv4 unicast", "ipv6 unicast"})


@dataclass(slots=True)
class Proof:
    """What was found."""

    lines: list[str] = field(default_factory=list)
    """What was tried, and what would reach whom."""
    warnings: list[str] = field(default_factory=list)
    faults: list[ConfigError] = field(default_factory=list)
    """Commands that ExaBGP refuses, and routes that reach nobody."""
    lost: set[Target] = field(default_factory=set)
    """Those routes."""

    def lose(self, file: Path, service: Service, route: Route, why: Mapping[Address, str]) -> None:
        """A route that no neighbour gets."""
        told = "; ".join(f"{neighbor}: {reason}" for neighbor, reason in why.items())
        text = f"{route.key} reaches no neighbour: {told or 'none takes commands of our process'}"
        self.faults.append(ConfigError(_place(file, service), text))
        self.lost.add(route)


@dataclass(frozen=True, slots=True)
class _Said:
    """One command that could be sent, and its line; without one it is never sent, for `why`."""

    service: Service
    target: Target
    when: str
    command: Command
    line: bytes | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Ours:
    """ExaBGP's configuration, seen from our process."""

    conf: Conf
    file: Path
    process: str
    peers: tuple[Peer, ...]
    """The neighbours that take our commands."""
    spelled: tuple[tuple[Address, str], ...]
    """How the file writes addresses that we would write otherwise."""


def prove(plan: Plan, file: Path, *, form: str = "auto", conf: Path | None = None) -> Proof:
    """Tries every command of a plan that came from `file`, for an ExaBGP of the form `auto`, `4`, `5` or `6`.

    With ExaBGP's own configuration its neighbours are asked for, too. Raises ConfigError where ExaBGP refuses its own
    configuration, ParserError where its parser cannot be asked.
    """
    proof = Proof()
    ours = None if conf is None else _ours(parser.read(conf), conf, file, proof)
    form_tried = Dialect.V4 if form == "4" else Dialect.V5
    speech = Speech(form_tried) if ours is None else Speech(form_tried, ours.peers, ours.spelled)
    said = list(_everything(plan, speech))
    trial = _trial([each.line for each in said if each.line is not None], plan, ours)
    verdicts = dict(zip((each.line for each in said if each.line is not None), trial.verdicts, strict=True))
    tried = f"{len(verdicts)} commands tried on the parser of ExaBGP {trial.version}"
    refused = sum(not verdict.accepted for verdict in verdicts.values())
    proof.lines.append(f"{tried}: {'all accepted' if not refused else f'{refused} refused'}")
    if form == "6":
        proof.lines.append("  in the form of ExaBGP 5: the form of 6 is known to no parser that is released")
    if ours is None:
        proof.lines += _in_words(plan)
        proof.lines += _named(plan, file, proof)
    else:
        proof.lines += _reach(said, verdicts, ours, file, proof)
    _judge(said, verdicts, file, proof)
    return proof


def _everything(plan: Plan, speech: Speech) -> Iterator[_Said]:
    for service in plan.services:
        for target in service.routes:
            for when, command in utterances(service, target):
                try:
                    yield _Said(service, target, when, command, dialect.line(command, speech))
                except SpeakerError as error:
                    yield _Said(service, target, when, command, None, str(error))


def _trial(lines: Sequence[bytes], plan: Plan, ours: _Ours | None) -> Trial:
    if ours is not None and not lines:
        return Trial(ours.conf.version, ())
    if ours is not None:
        return parser.try_commands(lines, ours.file, process=ours.process)
    named = {address for route in _routes(plan) for address in route.neighbors}
    return parser.try_commands(lines, [*map(Peer, sorted(named, key=str)), *_strangers(named)])


def _strangers(named: set[Address]) -> Iterator[Peer]:
    return (peer for peer in _ANYBODY if peer.address not in named)


def _judge(said: Sequence[_Said], verdicts: Mapping[bytes, Verdict], file: Path, proof: Proof) -> None:
    """The commands that ExaBGP refuses, beside those of routes that reach nobody."""
    for each in said:
        if each.line is None or each.target in proof.lost:
            continue
        verdict = verdicts[each.line]
        if not verdict.accepted:
            how = {"crash": "would not survive", "": "does not answer"}.get(verdict.answer, "refuses")
            why = f": {verdict.why}" if verdict.why else ""
            text = f"ExaBGP {how} `{each.line.decode().rstrip()}` ({each.when}){why}"
            proof.faults.append(ConfigError(_place(file, each.service), text))


def _place(file: Path, service: Service) -> str:
    return f"{file}: service {service.name}"


def _routes(plan: Plan) -> Iterator[Route]:
    for service in plan.services:
        yield from (target for target in service.routes if isinstance(target, Route))


# --- without ExaBGP's configuration -----------------------------------------------------------------------------------


def _in_words(plan: Plan) -> Iterator[str]:
    """What neighbours of whom nothing is known would do."""
    yield "which neighbours ExaBGP has is not known here (--exabgp-conf FILE tells):"
    for name in sorted(_BOTH):
        routes = [route for route in _routes(plan) if family(route) == name]
        if routes:
            yield f"  {_some(routes)}: a neighbour without `{name}` gets nothing of it"
        routes = [route for route in routes if route.next_hop == "self"]
        if routes:
            version, other = routes[0].prefix.version, 10 - routes[0].prefix.version
            yield (
                f'  {_some(routes)}: over an IPv{other} session next_hop = "self" cannot carry it, and it is not sent:'
                f" give next_hop an IPv{version} address"
            )
    names = [target.name for service in plan.services for target in service.routes if isinstance(target, Watchdog)]
    if names:
        yield f"  watchdog {', '.join(names)}: ExaBGP answers `done` for a name that no route of its file carries, too"


def _some(routes: Sequence[Route]) -> str:
    shown = ", ".join(route.key for route in routes[:4])
    return f"{shown} and {len(routes) - 4} more" if len(routes) > 4 else shown


def _named(plan: Plan, file: Path, proof: Proof) -> Iterator[str]:
    """What the addresses alone of the services' own neighbours tell."""
    for service in plan.services:
        for target in service.routes:
            if not isinstance(target, Route) or not target.neighbors:
                continue
            why = reasons(target, [Peer(address, families=_BOTH) for address in target.neighbors])
            if why:
                yield _outcome(service, target, target.neighbors, why)
            if len(why) == len(target.neighbors):
                proof.lose(file, service, target, why)


def _outcome(service: Service, route: Route, meant: Sequence[Address], why: Mapping[Address, str]) -> str:
    """Who gets a route, and why others do not."""
    gets = ", ".join(str(neighbor) for neighbor in meant if neighbor not in why)
    but = "".join(f"; not to {neighbor}: {reason}" for neighbor, reason in why.items())
    return f"  {service.name} {route.key}: to {gets or 'nobody'}{but}"


# --- with it ----------------------------------------------------------------------------------------------------------


def _ours(conf: Conf, path: Path, file: Path, proof: Proof) -> _Ours | None:
    """Our process in ExaBGP's configuration, None if there is none; and what is to be said of both."""
    candidates = [process for process in conf.processes if _is_us(process)]
    of_this_file = [process for process in candidates if file.absolute() in _files(process)]
    if not candidates:
        proof.warnings.append(
            f"{path}: no process runs `{_PROGRAM} run`: `{_PROGRAM} exabgp-conf` prints what is missing"
        )
        return None
    process = max(
        of_this_file or candidates,
        key=lambda each: sum(neighbor.takes(each.name) for neighbor in conf.neighbors),
    )
    if not of_this_file:
        proof.warnings.append(f"{path}: process {process.name} does not run with --config {file.absolute()}")
    if len(candidates) > 1:
        names = ", ".join(each.name for each in candidates)
        proof.warnings.append(
            f"{path}: {names} run `{_PROGRAM}`: looked at is {process.name}; two cannot share a journal"
        )
    if process.encoder != "json":
        proof.warnings.append(f"{path}: process {process.name}: encoder {process.encoder}: we read `encoder json` only")
    if not process.respawn:
        proof.warnings.append(
            f"{path}: process {process.name}: respawn false: after our end nobody withdraws a dead path's routes, and"
            " ExaBGP 5 ends itself at the next thing it would tell us"
        )
    for text in conf.ranges:
        proof.warnings.append(f"{path}: neighbor {text} is a range: who it is is not known, and nothing is sent to it")
    mine = []
    for neighbor in conf.neighbors:
        proof.warnings += (f"{path}: neighbor {neighbor.spelled}: {text}" for text in _remarks(neighbor, process.name))
        if neighbor.takes(process.name):
            mine.append(neighbor)
    peers = tuple(replace(each.peer, tells=_tells(each, process.name)) for each in mine)
    spelled = tuple((each.peer.address, each.spelled) for each in mine if each.spelled != str(each.peer.address))
    return _Ours(conf, path, process.name, peers, spelled)


def _is_us(process: ApiProcess) -> bool:
    names = {Path(word).name for word in process.run}
    return "run" in process.run and (_PROGRAM in names or _MODULE in process.run)


def _files(process: ApiProcess) -> set[Path]:
    """What follows --config in a run line."""
    words = process.run
    files = [after for flag, after in pairwise(words) if flag in {"--config", "-c"}]
    return {Path(file) for file in [*files, *(word[9:] for word in words if word.startswith("--config="))]}


def _tells(neighbor: Configured, process: str) -> bool:
    return process in neighbor.told.get("send-update", ()) and _decoded(neighbor, process, "send")


def _decoded(neighbor: Configured, process: str, way: str) -> bool:
    return any(process in neighbor.told.get(f"{way}-{form}", ()) for form in ("parsed", "consolidate"))


def _remarks(neighbor: Configured, process: str) -> Iterator[str]:
    """What an operator should know of a neighbour's section."""
    if process not in neighbor.processes and neighbor.takes(process):
        yield f"process {process} is matched by processes-match: it commands, but is told nothing; name it in processes"
    elif process not in neighbor.processes:
        yield f"process {process} is not in `api {{ processes [ {process} ]; }}`: it gets nothing from us"
        return
    else:
        yield from _untold(neighbor, process)
    if neighbor.peer.local is None:
        yield "local-address auto: `next-hop self` is refused until its BGP session was up once; we say it again then"
    if neighbor.peer.graceful_restart:
        yield (
            "graceful-restart is on: when ExaBGP or this host dies, the other side keeps our routes as stale until its"
            " restart time is over"
        )
    if not neighbor.peer.resends:
        yield "adj-rib-out false: ExaBGP does not say our routes again when the BGP session comes back"


def _untold(neighbor: Configured, process: str) -> Iterator[str]:
    """What its `api` section keeps from us."""
    for way in ("send", "receive"):
        asked = [what for what, who in neighbor.told.items() if what.startswith(f"{way}-") and process in who]
        if asked and not _decoded(neighbor, process, way):
            yield f"`{way}` without `parsed`: what comes of it cannot be read"
    missing = [
        text
        for text, told in (
            ("neighbor-changes;", process in neighbor.told.get("neighbor-changes", ())),
            ("negotiated;", process in neighbor.told.get("negotiated", ())),
            ("send { parsed; update; }", _tells(neighbor, process)),
        )
        if not told
    ]
    if missing:
        yield f"its api section lacks {' '.join(missing)} without which less can be told and nothing confirmed"


def _reach(
    said: Sequence[_Said], verdicts: Mapping[bytes, Verdict], ours: _Ours, file: Path, proof: Proof
) -> Iterator[str]:
    """Which neighbours get each route, and which do not and why."""
    yield f"{ours.file}: process {ours.process} commands {len(ours.peers) or 'none'} of the neighbours"
    automatic = {peer.address for peer in ours.peers if peer.local is None}
    others = {neighbor.peer.address for neighbor in ours.conf.neighbors}
    for peer in ours.peers:
        yield f"  neighbour {peer.address}: {', '.join(sorted(peer.families))}"
    for each in said:
        if each.when != "announce":
            continue
        if isinstance(each.command.route, Watchdog):
            yield _watchdog(each.service, each.command.route, ours, proof)
            continue
        route = each.command.route
        meant = route.neighbors or tuple(dict.fromkeys(peer.address for peer in ours.peers))
        why = {
            neighbor: _NOT_OURS if reason == NO_SUCH_NEIGHBOR and neighbor in others else reason
            for neighbor, reason in reasons(route, ours.peers).items()
        }
        if each.line is not None:
            # The last word has ExaBGP: what it says of a neighbour beyond what we know.
            found = verdicts[each.line]
            why |= {
                neighbor: f"ExaBGP's own parser does not hand it over: {found.refused.get(neighbor) or found.why}"
                for neighbor in meant
                if neighbor not in why
                and neighbor not in found.taken
                # It knows its own end when the session was up once.
                and not (route.next_hop == "self" and neighbor in automatic)
            }
        yield _outcome(each.service, route, meant, why)
        if len(why) == len(meant):
            proof.lose(file, each.service, route, why)
        else:
            # A session for each family of a service is as it should be; a neighbour that is not there is not.
            proof.warnings += (
                f"service {each.service.name}: neighbour {neighbor} of {route.key}: {reason}"
                for neighbor, reason in why.items()
                if reason in {NO_SUCH_NEIGHBOR, _NOT_OURS}
            )


def _watchdog(service: Service, watchdog: Watchdog, ours: _Ours, proof: Proof) -> str:
    """Which neighbours have routes of a watchdog; it acts on all of ExaBGP's neighbours, not only on ours."""
    carried = {
        neighbor.spelled: routes
        for neighbor in ours.conf.neighbors
        if (routes := neighbor.watchdogs.get(watchdog.name)) is not None
    }
    if not carried:
        proof.warnings.append(f"service {service.name}: no route in {ours.file} carries `watchdog {watchdog.name}`")
    early = [spelled for spelled, routes in carried.items() if routes.on]
    if early:
        proof.warnings.append(
            f"service {service.name}: routes of watchdog {watchdog.name} lack the word `withdraw`, and are announced to"
            f" {', '.join(early)} from ExaBGP's start and after each of its reloads, whatever the paths are"
        )
    told = ", ".join(f"{spelled} ({routes.on + routes.off} routes)" for spelled, routes in carried.items())
    return f"  {service.name} {watchdog.key}: to {told or 'nobody'}"
