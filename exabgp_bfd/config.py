"""TOML, environment and flags become one checked, frozen `Settings`; nothing of pydantic leaves this module.

Three steps. Tables (pydantic) check the shape of the file: types, ranges, unknown keys. `_Build` lays flags and
variables over them, resolves secrets, and refuses contradictions between keys. `Settings` carries core types only.
Every fault found in a step is collected; the first is raised and carries the others (`SettingsError.errors`).
No text of an error ever holds the value of a secret key.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import difflib
import hashlib
import re
import socket
import ssl
import tomllib
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, tzinfo
from ipaddress import ip_address, ip_network
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)

from exabgp_bfd.core.credentials import AuthProtocol, Context, PrivProtocol, User
from exabgp_bfd.core.model import (
    Action,
    Address,
    Change,
    ConfigError,
    Damping,
    Device,
    Guard,
    Plan,
    Prefix,
    Reading,
    Route,
    Rung,
    Secret,
    Selector,
    Service,
    Span,
    Target,
    Watchdog,
    Weekly,
    Window,
)
from exabgp_bfd.core.notices import Endpoint
from exabgp_bfd.core.notices import Format as NotifyFormat
from exabgp_bfd.core.signing import is_standard
from exabgp_bfd.core.written import Written

DEFAULT_JOURNAL: Final = Path("/var/lib/exabgp-bfd/journal.db")
CONFIG_VARIABLE: Final = "EXABGP_BFD_CONFIG"
DEFAULT_COMMUNITY: Final = "public"
PROFILES: Final = (
    "auto",
    *("nokia", "huawei", "bfd-std", "extreme", "aricent", "supermicro", "fs", "qtech", "raisecom", "alaxala", "zte-an"),
    *("zte", "h3c", "hpn-icf", "h3c-old", "3com", "nokia-old", "eltex", "cisco", "omniswitch", "omniswitch6"),
    *("juniper", "foundry", "cisco-sdwan", "viptela"),
    "oid",
)
"""Names that `profile` takes; a test holds them against the tables of sources/snmp/mibs.py."""

_SECRET_KEYS: Final = frozenset(
    {"community", "secrets", "mongodb", "sha256", "auth_key", "priv_key", "communities", "context_communities", "url"}
)
_SECRET_FILE_LIMIT: Final = 65536
_CERTIFICATE_LIMIT: Final = 1 << 20
MOST_ENDPOINTS: Final = 32
"""Each has a thread and a connection of its own."""
_MOST_PATTERNS: Final = 100

LONGEST_SECRET: Final = 255
"""Characters of a secret that is sent over HTTP."""

Stored = Callable[[Path], Mapping[str, Written]]
"""Gives the devices that were added over HTTP and kept in a journal, as they were written, by name."""
LOST: Final[Written] = {}
"""Itself, and nothing equal to it, stands for a device that was added over HTTP, and that the journal has no more."""

DialectName = Literal["auto", "4", "5", "6"]
OnExit = Literal["keep", "withdraw"]
SnmpVersion = Literal["1", "2c", "3"]
EngineName = Literal["auto", "pysnmp", "gufo"]
OidValues = Literal["oper", "state"]
WebhookEffect = Literal["record", "probe", "observe"]
WebhookFormat = Literal["report", "alertmanager", "grafana"]
WebhookAuth = Literal["signature", "bearer"]
Role = Literal["read", "operate", "admin"]
LogLevel = Literal["debug", "info", "warning", "error"]
ReadingName = Literal["down", "hold", "up"]
WindowAction = Literal["hold", "down", "freeze", "drain", "withdraw", "announce"]

WATCHDOG_FATAL: Final = frozenset(
    {"json", "debug", "crash", "shutdown", "restart", "reset", "operational", "disable-ack", "silence-ack"}
)
"""What no watchdog's name may hold, since ExaBGP finds it in a line; a test holds it against speaker/dialect.py."""
_WATCHDOG_COMMANDS: Final = frozenset(
    {"announce", "withdraw", "version", "teardown", "reload", "help", "enable-ack", "flush", "clear"}
)
"""What no watchdog may be called: ExaBGP takes a line that ends with one of these for that command (5.0.15)."""
SHORTEST_RECONCILE: Final = 10.0
"""Seconds; while ExaBGP answers, it executes no command."""
SHORTEST_KEY: Final = 8
"""Octets of an SNMPv3 pass phrase (RFC 3414 section 11.2)."""
SHORTEST_LEASE: Final = 2.0
"""Seconds; a start of ours takes one or two."""


class SettingsError(ConfigError):
    """The first fault that was found, as any `ConfigError`; `errors` has all of them, itself included as the first."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__(errors[0].place, errors[0].text)
        self.errors = tuple(errors)


# --- what comes out ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """How one router is asked, with the defaults of [snmp] already merged in; times are seconds."""

    name: str
    host: str
    """A host name or an address, without brackets."""
    port: int = 161
    version: SnmpVersion = "2c"
    community: Secret = field(default_factory=lambda: Secret(DEFAULT_COMMUNITY))
    interval: float = 1.0
    timeout: float = 1.0
    retries: int = 1
    stale_after: float = 10.0
    fast_interval: float = 0.5
    """Between two polls while a session of the device is changing; never more than `interval`."""
    engine: EngineName = "auto"
    profile: str = "auto"
    oid: str | None = None
    """The column's OID for profile `oid`, digits and dots without a leading dot."""
    values: OidValues | None = None
    """`oper`: bfdSessOperStatus; `state`: bfdSessState (RFC 7331). Only for profile `oid`."""
    user: User | None = None
    """For version 3."""
    contexts: tuple[Context, ...] = ()
    """The views in which its sessions are looked for; empty: the default one."""
    max_varbinds: int = 40
    trap_from: tuple[Address, ...] = ()
    """Addresses from which it sends notifications, beside its host's."""
    trust: bool = False
    """Whether an authenticated and fresh SNMPv3 notification of it counts before it was looked at."""
    origin: Literal["file", "api"] = "file"
    """`api`: it was added over HTTP."""


@dataclass(frozen=True, slots=True)
class TrapSettings:
    """Where SNMP notifications arrive, and which are believed beside those with a device's own credentials."""

    listen: tuple[Listen, ...]
    communities: tuple[Secret, ...] = ()
    users: tuple[User, ...] = ()
    receive_buffer: int = 4 * 1024 * 1024
    """Bytes that the kernel is asked for; it may grant less."""
    trust: bool = False
    """Whether an authenticated notification by one of `users` may count before the session was looked at."""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """What the SNMP proxy of the API may ask beside the configured devices, and how much at once; seconds."""

    allow: tuple[Prefix, ...] = ()
    concurrency: int = 6
    queue: int = 100
    keep: float = 3600.0
    timeout: float = 600.0
    """How long one job may take."""


@dataclass(frozen=True, slots=True)
class SpeakerSettings:
    """How ExaBGP is spoken to; times are seconds."""

    dialect: DialectName = "auto"
    ack_timeout: float = 5.0
    on_exit: OnExit = "keep"
    adopt_within: float = 3600.0
    """How old our predecessor's last sign of life may be for its routes to be announced again by a new ExaBGP."""
    lease: float | None = None
    """How long routes under a lease may be left alone before they are withdrawn; None: for ever."""
    leased: tuple[str, ...] = ()
    """The services whose routes are under the lease."""


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Where records are kept, and how long (seconds, or a number of events)."""

    path: Path = DEFAULT_JOURNAL
    mongodb: Secret | None = None
    keep_events: float = 90 * 86400.0
    keep_messages: float = 7 * 86400.0
    max_events: int = 1_000_000
    keep_inputs: float = 7 * 86400.0
    """How long what was observed is kept, for a replay."""


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """Somebody who may report by webhook, in his own name."""

    name: str
    secrets: tuple[Secret, ...]
    effect: WebhookEffect = "probe"
    format: WebhookFormat | None = None
    """None: as the request says, and else a report of ours."""
    auth: WebhookAuth = "signature"
    repeats: bool = True
    """Whether the same body, signed without a time, is a new report each time."""


@dataclass(frozen=True, slots=True)
class SitesSettings:
    """How the sites of one MongoDB talk to each other; seconds."""

    heartbeat: float = 5.0
    """How often a site says that it is there."""
    fresh: float = 20.0
    """How long a site counts after it was heard of last, and how long we count as not cut off from the others."""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Who may sign reports, and what a report does; without secrets the webhook is closed."""

    secrets: tuple[Secret, ...] = ()
    effect: WebhookEffect = "probe"
    repeats: bool | None = None
    """Whether the same body, signed without a time, is a new report each time; None: unless it is observed."""
    senders: tuple[SenderSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The API's certificate with its chain, and its key, in PEM."""

    certificate: Path
    key: Path
    content: str
    """A digest of both files: a renewed certificate is another setting."""


@dataclass(frozen=True, slots=True)
class RateSettings:
    """How often one may ask the API; 0: as often as one likes."""

    requests: float = 100.0
    """A second, for each key, or address where no key is shown."""
    burst: int = 200
    """How many at once, after a pause."""
    failures: float = 10.0
    """Wrong keys and signatures a minute, for each address."""


@dataclass(frozen=True, slots=True)
class Listen:
    """An address and port to listen on; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the API, known by its hash only."""

    name: str
    role: Role
    sha256: Secret
    """Lower-case hexadecimal, 64 digits."""
    networks: tuple[Prefix, ...] = ()
    """From where it may be used; empty: from wherever the API may be."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where the log goes beside stderr, and how large its file may grow (bytes, old files)."""

    level: LogLevel = "info"
    file: Path | None = None
    max_bytes: int = 10 * 1024 * 1024
    backups: int = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything `app` builds its parts from."""

    site: str
    plan: Plan
    targets: tuple[DeviceSettings, ...]
    """One for each of `plan.devices` but for those that are `lost`, in the same order."""
    speaker: SpeakerSettings = field(default_factory=SpeakerSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    sites: SitesSettings = field(default_factory=SitesSettings)
    webhook: WebhookSettings = field(default_factory=WebhookSettings)
    api: Listen | None = field(default_factory=lambda: Listen("127.0.0.1", 8080))
    """None: the API is off."""
    api_keys: tuple[ApiKey, ...] = ()
    api_tls: TlsSettings | None = None
    """None: no TLS."""
    api_networks: tuple[Prefix, ...] = ()
    """From where one may ask; empty: from anywhere."""
    api_proxies: tuple[Prefix, ...] = ()
    """Whose X-Forwarded-For is believed."""
    api_rates: RateSettings = field(default_factory=RateSettings)
    traps: TrapSettings | None = None
    """None: no receiver."""
    proxy: ProxySettings = field(default_factory=ProxySettings)
    notify: tuple[Endpoint, ...] = ()
    """Who is told of events."""
    log: LogSettings = field(default_factory=LogSettings)
    file: Path | None = None
    """The file it was read from."""
    superseded: tuple[str, ...] = ()
    """Devices that were added over HTTP, and that the file has by now."""
    unreadable: tuple[ConfigError, ...] = ()
    """Devices that were added over HTTP and are left out: this version cannot make anything of them, or they are gone
    from the journal."""
    lost: tuple[str, ...] = ()
    """Those of them that something follows: they are in the plan, and nobody asks them."""
    defaults: Defaults = field(default_factory=lambda: Defaults(), repr=False, compare=False)  # noqa: PLW0108 - below


@dataclass(frozen=True)
class Overrides:
    """What the command line said; None is not given. `load` adds the variables of the environment."""

    device_name: str | None = None
    device_host: str | None = None
    snmp_community: str | None = field(default=None, repr=False)
    bfd_oper_status_oid: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    poll_interval: float | str | None = None
    listen: str | None = None
    db: str | Path | None = None
    log_file: str | Path | None = None
    log_level: str | None = None
    lease: float | str | None = None
    prefixes: tuple[str, ...] | None = None


_SOURCES: Final[Mapping[str, tuple[str, str]]] = {
    "device_name": ("--device-name", "DEVICE_NAME"),
    "device_host": ("--device-host", "DEVICE_HOST"),
    "snmp_community": ("--snmp-community", "SNMP_COMMUNITY"),
    "bfd_oper_status_oid": ("--bfd-oper-status-oid", "BFD_OPER_STATUS_OID"),
    "webhook_secret": ("--webhook-secret", "WEBHOOK_HMAC_SECRET"),
    "poll_interval": ("--poll-interval", "POLL_INTERVAL"),
    "listen": ("--listen", "EXABGP_BFD_LISTEN"),
    "db": ("--db", "EXABGP_BFD_DB"),
    "log_file": ("--log-file", "EXABGP_BFD_LOG_FILE"),
    "log_level": ("--log-level", "EXABGP_BFD_LOG_LEVEL"),
    "lease": ("--lease", "EXABGP_BFD_LEASE"),
    "prefixes": ("--prefix", "EXABGP_BFD_PREFIX"),
}
"""Field of `Overrides` -> its flag and its variable."""

VARIABLES: Final[Mapping[str, str]] = dict(_SOURCES.values()) | {"--config": CONFIG_VARIABLE}
"""Flag -> the environment variable that stands in for it, for the command line's help."""


# --- reading one value: each takes what TOML gave, and raises ValueError with what is wrong and what is right ----


def _show(value: object) -> str:
    """A value as its writer knows it, shortened; never called for a secret key."""
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return "a list"
        case dict():
            return "a table"
        case datetime() | date() | time():
            return "a date or time"
        case str() if len(value) > 60:
            return repr(value[:57] + "...")
        case _:
            return repr(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes, not {_show(value)}")  # noqa: TRY004 pydantic collects ValueError only
    if not value:
        raise ValueError("must not be empty")
    if not value.isprintable():
        raise ValueError(f"must not hold control characters: {_show(value)}")
    return value


def _read_name(value: object) -> str:
    name = _text(value)
    if "/" in name or any(character.isspace() for character in name):
        raise ValueError(f"a name holds no slash and no blank: {_show(name)}, perhaps {re.sub(r'[/ ]+', '-', name)!r}")
    if len(name) > 100:
        raise ValueError("a name has at most 100 characters")
    return name


def _read_secret(value: object) -> Secret:
    # The value is never shown, not even its type's repr: a number may be the secret, written without quotes.
    if not isinstance(value, str):
        raise ValueError("must be text in quotes: a value, env:NAME or file:PATH")  # noqa: TRY004
    if not value:
        raise ValueError("must not be empty: a value, env:NAME or file:PATH")
    return Secret(value)


def _read_hash(value: object) -> Secret:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("must be the SHA-256 of the key: 64 hexadecimal digits")
    return Secret(value.lower())


def _read_rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1_000_000:
        raise ValueError("must be a number from 0 (no limit) to 1000000")
    return float(value)


def _read_path(value: object) -> Path:
    path = Path(_text(str(value) if isinstance(value, Path) else value))
    if path.parts[:1] and path.parts[0].startswith("~"):
        raise ValueError(f"{_show(str(path))} is taken as it stands: write the home directory's own path for ~")
    return path


def _read_host(value: object) -> str:
    host = _text(value)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if _is_address(host):
        return host
    label = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    # A name of digits and dots only is a mistyped address, which a resolver would ask the world for.
    if len(host) > 253 or not re.fullmatch(rf"{label}(?:\.{label})*\.?", host) or re.fullmatch(r"[0-9.]+", host):
        hint = "; write the port beside it: port = 161" if re.fullmatch(r".+:[0-9]+", host) else ""
        raise ValueError(f"must be a host name or an address, not {_show(host)}{hint}")
    return host


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _split_port(text: str) -> tuple[str, str | None]:
    """`host`, `host:port`, `[v6]:port` or a bare IPv6 address -> host and port."""
    if match := re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text):
        return match[1], match[2]
    if _is_address(text) or text.count(":") != 1:
        return text, None
    host, port = text.split(":")
    return host, port


def _read_port(text: str, lowest: int = 1) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not lowest <= int(text) <= 65535:
        raise ValueError(f"the port must be a number from {lowest} to 65535, not {_show(text)}")
    return int(text)


def _read_host_port(value: object) -> tuple[str, int | None]:
    host, port = _split_port(_text(value))
    return _read_host(host), None if port is None else _read_port(port)


def _read_listen(value: object) -> Listen:
    text = _text(value)
    host, port = _split_port(text)
    if port is None or not (host == "localhost" or _is_address(host)):
        raise ValueError(f'must be an address and a port, "127.0.0.1:8080" or "[::1]:8080", not {_show(text)}')
    return Listen(host, _read_port(port, lowest=0))


def _read_api_listen(value: object) -> Listen | None:
    if value == "off":
        return None
    try:
        return _read_listen(value)
    except ValueError as error:
        raise ValueError(f'{error} ("off" serves no API)') from None


def _read_address(value: object) -> Address:
    text = _text(value)
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"must be an IPv4 or IPv6 address, not {_show(text)}") from None
    if "%" in text:
        # ExaBGP's command parser knows no zone.
        raise ValueError(f"must be an address without a zone: {text.partition('%')[0]}")
    return address


def _read_next_hop(value: object) -> tuple[Address, ...]:
    """`self` -> (), an address -> one, a list -> at most one of each family."""
    if value == "self":
        return ()
    hops = tuple(_read_address(hop) for hop in (value if isinstance(value, list) else [value]))
    if not hops:
        raise ValueError('must be "self", an address, or a list of one address of each family')
    for hop in hops:
        if hop.is_multicast or hop.is_unspecified:
            raise ValueError(f"{hop} cannot be a next hop: give an address of a router or of this host")
    if len({hop.version for hop in hops}) < len(hops):
        raise ValueError("has two addresses of one family: give at most one of each")
    return hops


def _read_prefix(value: object) -> Prefix:
    text = _text(value)
    host, slash, length = text.partition("/")
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(f'must be a prefix such as "192.0.2.53/32", not {_show(text)}') from None
    if "%" in host:
        raise ValueError(f"must be a prefix without a zone, not {_show(text)}")
    if not slash:
        raise ValueError(f"{address} has no length: {address}/{address.max_prefixlen}?")
    if not re.fullmatch(r"[0-9]{1,3}", length) or int(length) > address.max_prefixlen:
        raise ValueError(f"the length of {_show(text)} must be a number from 0 to {address.max_prefixlen}")
    network = ip_network(f"{address}/{int(length)}", strict=False)
    if network.network_address != address:
        raise ValueError(f"{text} has host bits set: {network} or /{address.max_prefixlen}?")
    return network


def _read_selector(value: object) -> Selector:
    text = _text(value)
    device, slash, pattern = text.partition("/")
    if not slash or not device or not pattern or pattern != pattern.strip():
        raise ValueError(
            f'must be "device/what" where what is a peer\'s address, an interface, a discriminator or *, '
            f"not {_show(text)}"
        )
    # Sessions are named by the canonical form of the peer's address, so an upper-case one would never match.
    return Selector(device, str(ip_address(pattern)) if _is_address(pattern) else pattern)


def _read_require(value: object) -> int | Literal["all"]:
    if value == "any":
        return 1
    if value == "all":
        return "all"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(f'must be "any", "all" or a whole number of sessions from 1, not {_show(value)}')


def _read_watchdog(value: object) -> str:
    name = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise ValueError(f"must be 1 to 64 letters, digits, - and _, as the route's `watchdog` has, not {_show(name)}")
    harm = min((word for word in WATCHDOG_FATAL if word in name.lower()), default=None)
    if harm is not None:
        raise ValueError(f"{_show(name)} holds {harm}, which ExaBGP takes for a command of its own: use another name")
    if name.lower() in _WATCHDOG_COMMANDS:
        raise ValueError(f"{_show(name)} is a command of ExaBGP: use another name, perhaps {'wd-' + name!r}")
    return name


def _read_up(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(f"must be a whole number of sessions from 1 (on_down is for fewer), not {_show(value)}")


def _read_withdraw(value: object) -> bool:
    if value is True:
        return True
    raise ValueError(f"must be true, not {_show(value)}: leave it out where the step announces")


def _read_on_down(value: object) -> object:
    """`withdraw` -> None; a table is read as one."""
    if value == "withdraw":
        return None
    if isinstance(value, dict):
        return value
    raise ValueError(f'must be "withdraw" or a table of what changes, {{ med = 500 }}, not {_show(value)}')


def _read_damping(value: object) -> object:
    """false -> None, true -> a table of defaults; a table is read as one."""
    if isinstance(value, bool):
        return {} if value else None
    if isinstance(value, dict):
        return value
    raise ValueError(f'must be true, false or a table such as {{ half_life = "15m" }}, not {_show(value)}')


def _read_penalty(value: object) -> float:
    # The upper bound refuses infinity, and both refuse NaN, which fails every comparison.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1e9:
        return float(value)
    raise ValueError(f"must be a number more than 0 and at most 1e9, not {_show(value)}")


def _read_limit(value: object) -> int | float:
    """A whole number of services, or a share of them between 0 and 1."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    share = value if isinstance(value, float) else 0.0
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%", value)):
        share = float(match[1]) / 100
    if 0 < share < 1:
        return share
    raise ValueError(
        "must be a whole number of services from 1, or a share of them between none and all such as "
        f'"30%" or 0.3, not {_show(value)}; leave it out for no limit'
    )


def _read_reason(value: object) -> str:
    reason = _text(value) if value != "" else ""
    if len(reason) > 1000:
        raise ValueError("must have at most 1000 characters")
    return reason


_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _read_weekly(value: object) -> tuple[frozenset[int], int, int]:
    """`sat,sun 02:00` or `daily 02:00` -> days (Monday is 0), hour and minute."""
    text = _text(value)
    match = re.fullmatch(r"([a-z]+(?: ?, ?[a-z]+)*) +([01][0-9]|2[0-3]):([0-5][0-9])", text.lower())
    if match is None:
        raise ValueError(f'must be days and a time such as "sat,sun 02:00" or "daily 02:00", not {_show(text)}')
    names = [name.strip() for name in match[1].split(",")]
    days = range(7) if names == ["daily"] else [_day(name) for name in names]
    if len({*days}) < len(days):
        raise ValueError(f"names a day twice: {_show(text)}")
    return frozenset(days), int(match[2]), int(match[3])


def _day(name: str) -> int:
    if name not in _DAYS:
        hint = f", did you mean `{name[:3]}`?" if name[:3] in _DAYS else ""
        raise ValueError(f"{_show(name)} is no day: use {', '.join(_DAYS)}, or daily alone{hint}")
    return _DAYS.index(name)


def _read_moment(value: object) -> datetime:
    """A date-time of TOML, with or without an offset."""
    example = "2026-12-01T02:00:00Z, or without the Z in the time of `zone`"
    if isinstance(value, str):
        raise ValueError(f"must be a date and time without quotes: {example}")  # noqa: TRY004
    if not isinstance(value, datetime):
        raise ValueError(f"must be a date and a time: {example}")  # noqa: TRY004
    # Room on both sides for what any zone adds, so that nobody who shows it leaves the calendar.
    if not 1970 < value.year < 9999:
        raise ValueError(f"must be in the years 1971 to 9998, not {value.year}")
    return value


def _read_zone(value: object) -> tzinfo:
    name = _text(value)
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # OSError: "America" is a folder of the system's own zones.
        if name == "UTC":
            return UTC
    known = zoneinfo.available_timezones()
    if not known:
        raise ValueError(f"{_show(name)} cannot be looked up: this system has no time zones, install tzdata")
    hint = _suggest(name, known) or ', for example "Europe/Berlin" or "UTC"'
    raise ValueError(f"{_show(name)} is no time zone of the IANA database{hint}")


_NAMED_COMMUNITIES: Final = frozenset({"no-export", "no-advertise", "no-export-subconfed", "no-peer", "blackhole"})
"""Names that ExaBGP 4.2 and 5 know themselves (RFC 1997, 3765, 7999)."""
_NUMBERED_COMMUNITIES: Final[Mapping[str, str]] = {
    "graceful-shutdown": "65535:0",  # RFC 8326
    "accept-own": "65535:1",  # RFC 7611
    "llgr-stale": "65535:6",  # RFC 9494
    "no-llgr": "65535:7",  # RFC 9494
}
"""Names of IANA's registry that ExaBGP's parser refuses: they are sent as numbers."""


def _numbers(text: str, separator_count: int) -> list[int] | None:
    """`1:2:3` -> its numbers, None when it is anything else."""
    parts = text.split(":")
    if len(parts) != separator_count + 1 or not all(re.fullmatch(r"[0-9]{1,10}", part) for part in parts):
        return None
    return [int(part) for part in parts]


def _read_community(value: object) -> str:
    text = _text(value)
    name = text.lower().replace("_", "-")
    if name in _NAMED_COMMUNITIES:
        return name
    if name in _NUMBERED_COMMUNITIES:
        return _NUMBERED_COMMUNITIES[name]
    numbers = _numbers(text, 1)
    if numbers is None:
        known = sorted(_NAMED_COMMUNITIES | _NUMBERED_COMMUNITIES.keys())
        hint = _suggest(name, known) or f"; names: {', '.join(known)}"
        raise ValueError(f'must be a community such as "65000:1" or a well-known name, not {_show(text)}{hint}')
    if max(numbers) > 0xFFFF:
        raise ValueError(f"both halves of {text} must be at most 65535: use large_communities for larger numbers")
    return f"{numbers[0]}:{numbers[1]}"


def _read_large_community(value: object) -> str:
    text = _text(value)
    numbers = _numbers(text, 2)
    if numbers is None or max(numbers) > 0xFFFFFFFF:
        raise ValueError(f'must be three numbers of 32 bits such as "65000:1:2" (RFC 8092), not {_show(text)}')
    return ":".join(map(str, numbers))


def _read_extended_community(value: object) -> str:
    text = _text(value)
    if re.fullmatch(r"0x[0-9a-fA-F]{16}", text):
        return text.lower()
    match = re.fullmatch(r"(target|origin):([0-9]{1,10}|[0-9.]{7,15}):([0-9]{1,10})", text)
    if match is None or ("." in match[2] and not _is_address(match[2])):
        raise ValueError(
            f'must be "target:65000:1", "origin:65000:1" or 0x and 16 hexadecimal digits (RFC 4360), not {_show(text)}'
        )
    kind, administrator, number = match[1], match[2], int(match[3])
    wide = "." in administrator or int(administrator) > 0xFFFF
    # Eight octets: two of type, and six shared by administrator and number (RFC 4360 section 3.1, RFC 5668).
    if number > (0xFFFF if wide else 0xFFFFFFFF) or (wide and "." not in administrator and int(administrator) >> 32):
        limit = "at most 65535 after an address or a 32-bit AS number" if wide else "at most 4294967295"
        raise ValueError(f"the last number of {_show(text)} must be {limit}, and an AS number at most 4294967295")
    return f"{kind}:{administrator if '.' in administrator else int(administrator)}:{number}"


_UNITS: Final[Mapping[str, int]] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _read_duration(value: object) -> float:
    """`90d`, `12h`, `30m`, `45s` or a number -> seconds."""
    seconds: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([smhd]?)", value)):
        seconds = float(match[1]) * _UNITS[match[2]]
    if seconds is None:
        raise ValueError(
            f'must be a time such as "90d", "12h", "30m", "45s" or a number of seconds, not {_show(value)}'
        )
    # Not `seconds > 36500 days`: a NaN fails every comparison, and must be refused too.
    if not 0 <= seconds <= 36500 * 86400:
        raise ValueError(f"must be from 0 to 36500 days, not {_show(value)}")
    return seconds


def _read_patience(value: object) -> float:
    seconds = _read_duration(value)
    if not 0.1 <= seconds <= 60:
        raise ValueError(f"must be from 0.1 to 60 seconds, not {_show(value)}")
    return seconds


def _read_pattern(value: object) -> str:
    text = _text(value)
    if len(text) > 255:
        raise ValueError("must have at most 255 characters")
    return text


def _split_url(url: str) -> SplitResult:
    """A URL that can be posted to; raises ValueError with what is wrong, and nothing of the URL."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, named = SplitResult("", "", "", "", ""), False  # what it says has the URL in it
    if not url.startswith(("https://", "http://")) or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must begin with https:// or http://, in printable characters of ASCII: escape all others")
    if not named:
        raise ValueError("has no host, or no port from 1 to 65535: https://host/path or https://host:port/path")
    if "#" in url:
        raise ValueError("must not have a fragment: # and what follows are never sent")
    return parts


def _read_retention(value: object) -> float:
    seconds = _read_duration(value)
    if seconds < 1:
        raise ValueError(f"must be at least one second, not {_show(value)}")
    return seconds


def _read_reconcile(value: object) -> float:
    seconds = _read_duration(value)
    if seconds and not SHORTEST_RECONCILE <= seconds <= 86400:
        raise ValueError(f"must be 0 (never) or from {SHORTEST_RECONCILE:g} seconds to a day, not {_show(value)}")
    return seconds


def _read_lease(value: object) -> float:
    seconds = _read_duration(value)
    if not SHORTEST_LEASE <= seconds <= 86400:
        raise ValueError(f"must be from {SHORTEST_LEASE:g} seconds to a day, not {_show(value)}")
    return seconds


def _read_span(value: object) -> float:
    seconds = _read_duration(value)
    if seconds <= 0:
        raise ValueError(f"must be more than 0, not {_show(value)}")
    return seconds


def _at_most(limit: float, words: str) -> Callable[[float], float]:
    """A check that a duration is no longer than `limit` seconds, which are `words`."""

    def check(seconds: float) -> float:
        if seconds > limit:
            raise ValueError(f"must be at most {words}, not {seconds:g} s")
        return seconds

    return check


def _read_oid(value: object) -> str:
    oid = _text(value).removeprefix(".")
    parts = oid.split(".")
    numbers = all(re.fullmatch(r"[0-9]{1,10}", part) and int(part) <= 0xFFFFFFFF for part in parts)
    if not numbers or not 3 <= len(parts) <= 128 or int(parts[0]) > 2:
        raise ValueError(f'must be a numeric OID such as "1.3.6.1.2.1.222.1.2.1.11", not {_show(oid)}')
    return ".".join(str(int(part)) for part in parts)


def _read_version(value: object) -> SnmpVersion:
    match _digit(value):
        case "1":
            return "1"
        case "2c":
            return "2c"
        case "3":
            return "3"
    raise ValueError(f'must be "2c", "3" or "1", not {_show(value)}')


def _read_word(value: object) -> str:
    """A user's or a context's name: SNMP takes any octets, but what holds none of these was mistyped."""
    word = "" if value == "" else _text(value)
    if len(word.encode()) > 32 or not word.isprintable():
        raise ValueError(f"must be at most 32 printable characters, not {_show(word)}")
    return word


def _read_user(value: object) -> str:
    word = _read_word(value)
    if not word:
        raise ValueError("must not be empty")
    return word


def _read_listens(value: object) -> tuple[Listen, ...]:
    """One address, or a list of them."""
    if not isinstance(value, list):
        return (_read_listen(value),)
    if not value:
        raise ValueError('must not be empty, for example ["0.0.0.0:162", "[::]:162"]')
    return tuple(_read_listen(each) for each in value)


def _read_profile(value: object) -> str:
    name = _text(value)
    if name not in PROFILES:
        raise ValueError(f"must be one of {', '.join(PROFILES)}, not {_show(name)}{_suggest(name, PROFILES)}")
    return name


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _digit(value: object) -> object:
    """`dialect = 5` and `version = 1` mean what they say, quotes or not."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean `{close[0]}`?" if close else ""


# --- the tables of the file -------------------------------------------------------------------------------------

NameText = Annotated[str, PlainValidator(_read_name)]
SecretText = Annotated[Secret, PlainValidator(_read_secret)]
UserText = Annotated[str, PlainValidator(_read_user)]
ContextText = Annotated[str, PlainValidator(_read_word)]
PathText = Annotated[Path, PlainValidator(_read_path)]
HostText = Annotated[str, PlainValidator(_read_host)]
ListensText = Annotated[tuple[Listen, ...], PlainValidator(_read_listens)]
ApiListenText = Annotated[Listen | None, PlainValidator(_read_api_listen)]
AddressText = Annotated[Address, PlainValidator(_read_address)]
PrefixText = Annotated[Prefix, PlainValidator(_read_prefix)]
OidText = Annotated[str, PlainValidator(_read_oid)]
Retention = Annotated[float, PlainValidator(_read_retention)]
LeaseTime = Annotated[float, PlainValidator(_read_lease)]
Duration = Annotated[float, PlainValidator(_read_span)]
"""More than nothing, in seconds."""
Penalty = Annotated[float, PlainValidator(_read_penalty)]
Community = Annotated[str, PlainValidator(_read_community)]
LargeCommunity = Annotated[str, PlainValidator(_read_large_community)]
ExtendedCommunity = Annotated[str, PlainValidator(_read_extended_community)]
SelectorText = Annotated[Selector, PlainValidator(_read_selector)]
Interval = Annotated[float, Field(ge=0.05, le=3600)]
Unsigned32 = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
Asn = Annotated[int, Field(ge=1, le=0xFFFFFFFF)]
Count = Annotated[int, Field(ge=1, le=1000)]
Pattern = Annotated[str, PlainValidator(_read_pattern)]
Patterns = Annotated[list[Pattern], Field(max_length=_MOST_PATTERNS)]
LevelText = Annotated[LogLevel, BeforeValidator(_lower)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _Site(_Table):
    name: NameText | None = None
    heartbeat: Annotated[float, Field(ge=0.5, le=300)] = SitesSettings().heartbeat
    fresh: Annotated[float, Field(ge=1, le=3600)] = SitesSettings().fresh


class _Speaker(_Table):
    dialect: Annotated[DialectName, BeforeValidator(_digit)] = "auto"
    ack_timeout: Annotated[float, Field(ge=0.1, le=300)] = 5.0
    on_exit: OnExit = "keep"
    adopt_within: Annotated[float, PlainValidator(_read_duration)] = 3600.0
    reconcile: Annotated[float, PlainValidator(_read_reconcile)] = 300.0
    lease: LeaseTime | None = None


class _Storage(_Table):
    path: PathText = DEFAULT_JOURNAL
    mongodb: SecretText | None = None
    keep_events: Retention = 90 * 86400.0
    keep_messages: Retention = 7 * 86400.0
    max_events: Annotated[int, Field(ge=1)] = 1_000_000
    keep_inputs: Retention = 7 * 86400.0


class _SnmpKeys(_Table):
    """What [snmp] and a device may both say; None is not said."""

    version: Annotated[SnmpVersion, PlainValidator(_read_version)] | None = None
    community: SecretText | None = None
    interval: Interval | None = None
    timeout: Annotated[float, Field(ge=0.05, le=60)] | None = None
    retries: Annotated[int, Field(ge=0, le=10)] | None = None
    stale_after: Annotated[float, Field(gt=0, le=86400)] | None = None
    fast_interval: Interval | None = None
    engine: EngineName | None = None
    user: UserText | None = None
    auth_protocol: AuthProtocol | None = None
    auth_key: SecretText | None = None
    priv_protocol: PrivProtocol | None = None
    priv_key: SecretText | None = None
    contexts: Annotated[list[ContextText], Field(max_length=256)] | None = None
    context_communities: dict[ContextText, SecretText] | None = None
    max_varbinds: Annotated[int, Field(ge=1, le=500)] | None = None


class _Snmp(_SnmpKeys):
    record_polls: bool = False
    forget_after: Duration = 86400.0


class _Device(_SnmpKeys):
    name: NameText
    host: HostText
    port: Annotated[int, Field(ge=1, le=65535)] = 161
    profile: Annotated[str, PlainValidator(_read_profile)] = "auto"
    oid: OidText | None = None
    values: OidValues | None = None
    trap_from: list[AddressText] = []
    trust: bool | None = None


class _Change(_Table):
    """What may be other while a service is not well; None is not said."""

    med: Unsigned32 | None = None
    local_preference: Unsigned32 | None = None
    communities: list[Community] | None = None
    large_communities: list[LargeCommunity] | None = None
    extended_communities: list[ExtendedCommunity] | None = None
    as_path: list[Asn] | None = None


class _Step(_Change):
    up: Annotated[int, PlainValidator(_read_up)]
    withdraw: Annotated[bool, PlainValidator(_read_withdraw)] = False


class _Damping(_Table):
    penalty: Penalty = Damping().penalty
    cutoff: Penalty = Damping().cutoff
    reuse: Penalty = Damping().reuse
    half_life: Duration = Damping().half_life
    ceiling: Penalty = Damping().ceiling


class _Service(_Table):
    name: NameText
    prefixes: Annotated[list[PrefixText], Field(min_length=1)] = []
    watchdog: Annotated[str, PlainValidator(_read_watchdog)] | None = None
    next_hop: Annotated[tuple[Address, ...], PlainValidator(_read_next_hop)] = ()
    neighbors: Annotated[list[AddressText], BeforeValidator(lambda value: [] if value == "all" else value)] = []
    med: Unsigned32 | None = None
    local_preference: Unsigned32 | None = None
    communities: list[Community] = []
    large_communities: list[LargeCommunity] = []
    extended_communities: list[ExtendedCommunity] = []
    as_path: list[Asn] = []
    sessions: Annotated[list[SelectorText], Field(min_length=1)]
    require: Annotated[int | Literal["all"], PlainValidator(_read_require)] = 1
    rise: Count = 3
    fall: Count = 1
    hold_up: Annotated[float, Field(ge=0, le=86400)] = 10.0
    confirm: bool = True
    confirm_timeout: Annotated[float, Field(ge=0.05, le=60)] = 0.5
    step: list[_Step] = []
    on_down: Annotated[_Change | None, BeforeValidator(_read_on_down)] = None
    damping: Annotated[_Damping | None, BeforeValidator(_read_damping)] = None
    drain_time: Annotated[float, PlainValidator(_read_duration), AfterValidator(_at_most(86400, 'a day, "24h"'))] = 60.0
    disable_file: PathText | None = None
    on_disable: Literal["withdraw", "drain"] = "withdraw"
    lease: bool = False
    keep_last: bool = False
    on_admin_down: ReadingName = "hold"
    on_missing: ReadingName = "down"
    on_unknown: ReadingName = "hold"


class _Window(_Table):
    name: NameText
    start: Annotated[datetime, PlainValidator(_read_moment)] | None = None
    end: Annotated[datetime, PlainValidator(_read_moment)] | None = None
    weekly: Annotated[tuple[frozenset[int], int, int], PlainValidator(_read_weekly)] | None = None
    duration: Annotated[Duration, AfterValidator(_at_most(7 * 86400, 'a week, "7d"'))] | None = None
    zone: Annotated[tzinfo, PlainValidator(_read_zone)] = Field(default_factory=lambda: _read_zone("UTC"))
    devices: Annotated[list[NameText], Field(min_length=1)] = []
    sessions: Annotated[list[SelectorText], Field(min_length=1)] = []
    services: Annotated[list[NameText], Field(min_length=1)] = []
    action: WindowAction | None = None
    reason: Annotated[str, PlainValidator(_read_reason)] = ""


class _Guard(_Table):
    max_withdrawn: Annotated[int | float, PlainValidator(_read_limit)] | None = None
    within: Duration = Guard().within


_USUAL: Final = Endpoint("", Secret(""), ())
_MOST_SECRETS: Final = 8


class _Sender(_Table):
    name: NameText
    secrets: Annotated[list[SecretText], Field(min_length=1)]
    effect: WebhookEffect = "probe"
    format: WebhookFormat | None = None
    auth: WebhookAuth = "signature"
    repeats: bool | None = None


class _Webhook(_Table):
    secrets: list[SecretText] = []
    effect: WebhookEffect = "probe"
    repeats: bool | None = None
    sender: list[_Sender] = []


class _Notify(_Table):
    name: NameText
    url: SecretText
    secrets: Annotated[list[SecretText], Field(min_length=1, max_length=_MOST_SECRETS)]
    format: NotifyFormat | None = None
    events: Annotated[list[Pattern], Field(min_length=1, max_length=_MOST_PATTERNS)] = list(_USUAL.events)
    services: Patterns = []
    devices: Patterns = []
    sessions: Patterns = []
    timeout: Annotated[float, PlainValidator(_read_patience)] = _USUAL.timeout
    tries: Count = _USUAL.tries
    max_age: Retention = _USUAL.max_age
    max_queue: Annotated[int, Field(ge=1, le=1_000_000)] = _USUAL.max_queue
    ca: PathText | None = None


class _Key(_Table):
    name: NameText
    role: Role
    sha256: Annotated[Secret, PlainValidator(_read_hash)]
    networks: list[PrefixText] = []


class _Rates(_Table):
    requests: Annotated[float, PlainValidator(_read_rate)] = RateSettings().requests
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = RateSettings().burst
    failures: Annotated[float, PlainValidator(_read_rate)] = RateSettings().failures


class _Api(_Table):
    listen: ApiListenText = Listen("127.0.0.1", 8080)
    tls_certificate: PathText | None = None
    tls_key: PathText | None = None
    networks: list[PrefixText] = []
    trusted_proxies: list[PrefixText] = []
    rates: _Rates = _Rates()
    key: list[_Key] = []


class _User(_Table):
    name: UserText
    auth_protocol: AuthProtocol | None = None
    auth_key: SecretText | None = None
    priv_protocol: PrivProtocol | None = None
    priv_key: SecretText | None = None


class _Traps(_Table):
    listen: ListensText
    communities: list[SecretText] = []
    user: list[_User] = []
    trust: bool = False
    receive_buffer: Annotated[int, Field(ge=65536, le=2**30)] = 4 * 1024 * 1024


class _SnmpProxy(_Table):
    allow: list[PrefixText] = []
    concurrency: Annotated[int, Field(ge=1, le=64)] = 6
    queue: Annotated[int, Field(ge=1, le=10_000)] = 100
    keep: Duration = 3600.0
    timeout: Duration = 600.0


class _Log(_Table):
    level: LevelText = "info"
    file: PathText | None = None
    max_bytes: Annotated[int, Field(ge=4096)] = 10 * 1024 * 1024
    backups: Annotated[int, Field(ge=1, le=1000)] = 5


class _File(_Table):
    site: _Site = _Site()
    speaker: _Speaker = _Speaker()
    storage: _Storage = _Storage()
    snmp: _Snmp = _Snmp()
    traps: _Traps | None = None
    snmp_proxy: _SnmpProxy = _SnmpProxy()
    device: list[_Device] = []
    service: list[_Service] = []
    window: list[_Window] = []
    guard: _Guard = _Guard()
    webhook: _Webhook = _Webhook()
    notify: list[_Notify] = []
    api: _Api = _Api()
    log: _Log = _Log()


_TABLES: Final[Mapping[tuple[str, ...], type[_Table]]] = {
    (): _File,
    ("site",): _Site,
    ("speaker",): _Speaker,
    ("storage",): _Storage,
    ("snmp",): _Snmp,
    ("traps",): _Traps,
    ("traps", "user"): _User,
    ("snmp_proxy",): _SnmpProxy,
    ("device",): _Device,
    ("service",): _Service,
    ("service", "step"): _Step,
    ("service", "on_down"): _Change,
    ("service", "damping"): _Damping,
    ("window",): _Window,
    ("guard",): _Guard,
    ("webhook",): _Webhook,
    ("webhook", "sender"): _Sender,
    ("notify",): _Notify,
    ("api",): _Api,
    ("api", "rates"): _Rates,
    ("api", "key"): _Key,
    ("log",): _Log,
}
_TABLE_LISTS: Final = frozenset(
    {
        *(("device",), ("service",), ("service", "step"), ("window",), ("api", "key")),
        *(("traps", "user"), ("webhook", "sender"), ("notify",)),
    }
)

_EXAMPLES: Final[Mapping[str, str]] = {
    "name": 'name = "edge1"',
    "host": 'host = "192.0.2.1"',
    "prefixes": 'prefixes = ["192.0.2.53/32"]',
    "secrets": 'secrets = ["env:WEBHOOK_HMAC_SECRET"]',
    "sessions": 'sessions = ["edge1/*"]',
    "role": 'role = "read"',
    "sha256": "the SHA-256 of the key, 64 hexadecimal digits",
    "listen": 'listen = "127.0.0.1:1162"',
    "up": "up = 1",
    "user": 'user = "bfd"',
    "devices": 'devices = ["edge1"]',
    "services": 'services = ["dns"]',
    "url": 'url = "env:NOTIFY_URL"',
    "events": 'events = ["bfd_*"]',
}


# --- the words for what pydantic found --------------------------------------------------------------------------

Location = tuple[int | str, ...]


def _path(location: Location) -> str:
    """("service", 0, "prefixes", 1) -> service[0].prefixes[1]."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _keys(location: Location) -> tuple[str, ...]:
    return tuple(part for part in location if isinstance(part, str))


def _unknown(location: Location, _: object) -> str:
    known = list(_TABLES[_keys(location[:-1])].model_fields)
    return "unknown key" + (_suggest(str(location[-1]), known) or f"; known here: {', '.join(known)}")


def _missing(location: Location, _: object) -> str:
    example = _EXAMPLES.get(str(location[-1]))
    return f"is missing, for example {example}" if example else "is missing"


def _not_a_list(location: Location, value: object) -> str:
    keys = _keys(location)
    if keys in _TABLE_LISTS:
        return f"is a list of tables: write [[{'.'.join(keys)}]] over each"
    example = f": [{_show(value)}]" if isinstance(value, str) and not _SECRET_KEYS & {*keys} else ""
    return f"must be a list{example}"


def _not_a_table(location: Location, _: object) -> str:
    return "must be a table" if _keys(location) in _TABLE_LISTS else f"must be a table: [{_path(location)}]"


_SENTENCES: Final[Mapping[str, Callable[[Location, object], str]]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "list_type": _not_a_list,
    "model_type": _not_a_table,
    "too_long": lambda _, __: "has more entries than are taken",
    "too_short": lambda location, _: f"must not be empty, for example {_EXAMPLES[str(location[-1])]}",
}
"""Kinds of fault whose words depend on where they are."""

_WORDS: Final[Mapping[str, str]] = {
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number of seconds",
    "finite_number": "must be a finite number of seconds",
    "bool_type": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}


def _say(error: Mapping[str, Any], location: Location) -> str:
    """One error of pydantic in words for the operator, without the value of a secret key."""
    kind, value = error["type"], error["input"]
    context = {key: f"{part:g}" if isinstance(part, float) else part for key, part in error.get("ctx", {}).items()}
    if kind == "value_error":
        return str(context["error"])
    if kind in _SENTENCES:
        return _SENTENCES[kind](location, value)
    if kind not in _WORDS or _SECRET_KEYS & {*_keys(location)}:
        return _WORDS.get(kind, "is not valid here").format(**context)
    text = f"{_WORDS[kind].format(**context)}, not {_show(value)}"
    if kind == "literal_error" and isinstance(value, str):
        text += _suggest(value, re.findall(r"'([^']+)'", str(context["expected"])))
    return text


def _faults(error: ValidationError, file: Path) -> list[ConfigError]:
    return [
        ConfigError(f"{file}: {_path(fault['loc'])}", _say(fault, fault["loc"]))
        for fault in error.errors(include_url=False)
    ]


# --- reading the file -------------------------------------------------------------------------------------------


def _read(file: Path) -> _File:
    """The file's tables; raises `SettingsError` with every fault of shape."""
    raw = _parse(file)
    try:
        return _File.model_validate(raw)
    except ValidationError as error:
        faults = _faults(error, file)
    # Raised outside of `except`: pydantic's error holds the values of secrets, and must not be its context.
    raise SettingsError(faults)


def _parse(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        fault = ConfigError(str(file), "no such file: give --config the path of the configuration")
    except UnicodeDecodeError as error:
        fault = ConfigError(str(file), f"is not UTF-8 at byte {error.start}: save it as UTF-8")
    except OSError as error:
        why = error.strerror or type(error).__name__
        fault = ConfigError(str(file), f"cannot be read ({why}): the user that ExaBGP runs us as must be able to")
    else:
        return _parse_toml(file, text)
    raise SettingsError([fault])


def _parse_toml(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        fault = ConfigError(str(file), "is nested too deeply")
    except ValueError as error:
        what, _, where = str(error).partition(" (at ")
        place = f"{file}: {where.removesuffix(')')}" if where else str(file)
        fault = ConfigError(place, f"is not TOML: {what}")
    raise SettingsError([fault])


# --- laying flags and variables over it, and what one key alone cannot tell -------------------------------------


@dataclass(frozen=True, slots=True)
class _Given:
    """A value from a flag or a variable, and which one it was."""

    value: Any = field(repr=False)
    place: str = ""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A device's table and where it was written: its own path in the file, or the flag."""

    table: _Device
    place: str


T = TypeVar("T")


def _given(overrides: Overrides, environ: Mapping[str, str]) -> dict[str, _Given]:
    """What flags and variables say; an empty variable says nothing, as containers set them."""
    given: dict[str, _Given] = {}
    for key, (flag, variable) in _SOURCES.items():
        value, place = getattr(overrides, key), flag
        if value is None or value == ():
            value, place = _from_environment(key, environ.get(variable, "")), variable
        if value is not None:
            given[key] = _Given(value, place)
    return given


def _from_environment(key: str, text: str) -> object:
    if key in {"snmp_community", "webhook_secret"}:
        return text or None  # blanks around a secret belong to it
    if key == "prefixes":
        return tuple(part.strip() for part in text.split(",") if part.strip()) or None
    return text.strip() or None


def _number(value: object) -> object:
    """Text of a number -> the number; anything else as it is, for the reader to refuse."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


class _Build:
    """Turns tables, flags and variables into settings, and collects what is wrong."""

    def __init__(
        self,
        file: Path | None,
        table: _File,
        given: Mapping[str, _Given],
        environ: Mapping[str, str],
        stored: Stored | None = None,
    ) -> None:
        self.stored = stored
        self.file = file
        self.table = table
        self.given = given
        self.environ = environ
        self.faults: list[ConfigError] = []
        self.said: set[tuple[str, str]] = set()
        self.superseded: list[str] = []
        self.unreadable: list[ConfigError] = []
        self.lost: dict[str, bool] = {}
        """Devices that were added over HTTP and that nobody can ask; whether `*` means them as well."""

    def fail(self, place: str, text: str) -> None:
        """Keeps a fault; one that many devices share is kept once."""
        if (place, text) not in self.said:
            self.said.add((place, text))
            self.faults.append(ConfigError(place, text))

    def place(self, *location: int | str) -> str:
        """Where a key of the file is."""
        return f"{self.file}: {_path(location)}"

    def path(self, path: Path) -> Path:
        """A path of the file, which is relative to the file and never to where we were started."""
        return self.file.parent.absolute() / path if self.file is not None else path.absolute()

    def take(self, key: str, reader: Any, default: T) -> T:  # noqa: ANN401 any annotation that pydantic can read
        """What a flag or variable says, read as the file's key would be; else `default`."""
        if key not in self.given:
            return default
        return self.read(reader, self.given[key].value, self.given[key].place, default)

    def read(self, reader: Any, value: object, place: str, default: T) -> T:  # noqa: ANN401
        """`value` read by an annotation; a fault is kept and `default` stands in."""
        try:
            taken: T = TypeAdapter(reader, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
        except ValidationError as error:
            self.fail(place, _say(error.errors(include_url=False)[0], ()))
            return default
        return taken

    # -- secrets

    def secret(self, place: str, written: Secret, folder: Path | None) -> Secret:
        """The secret that a value, `env:NAME` or `file:PATH` stands for; one level, never again."""
        text = written.reveal()
        if text.startswith("env:"):
            return self.secret_of_variable(place, text.removeprefix("env:"))
        if text.startswith("file:"):
            return self.secret_of_file(place, Path(text.removeprefix("file:")), folder)
        return written

    def secret_of_variable(self, place: str, name: str) -> Secret:
        value = self.environ.get(name, "")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            self.fail(place, "env: is followed by the name of an environment variable, as in env:SNMP_COMMUNITY")
        elif not value:
            state = "is empty" if name in self.environ else "is not set"
            self.fail(place, f"the variable {name} {state}: export it where ExaBGP is started, or use file:PATH")
        return Secret(value)

    def secret_of_file(self, place: str, path: Path, folder: Path | None) -> Secret:
        path = (folder or Path()).absolute() / path
        text = ""
        try:
            with path.open("rb") as stream:
                text = stream.read(_SECRET_FILE_LIMIT).decode()
        except UnicodeDecodeError:
            self.fail(place, f"{path} is not text in UTF-8: write the secret alone into it")
            return Secret("")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not a path"
            remedy = "it must exist, and the user that ExaBGP runs us as must be able to read it"
            self.fail(place, f"the secret's file {path} cannot be read ({why}): {remedy}")
            return Secret("")
        text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            self.fail(place, f"the secret's file {path} is empty: write the secret into it")
        return Secret(text)

    def file_secret(self, written: Secret, *location: int | str) -> Secret:
        """A secret that the file names."""
        return self.secret(self.place(*location), written, self.file.parent if self.file else None)

    def given_secret(self, key: str) -> Secret | None:
        """A secret that a flag or variable names."""
        if key not in self.given:
            return None
        place = self.given[key].place
        written = self.take(key, SecretText, Secret(""))
        return self.secret(place, written, None)

    # -- devices

    def placed(self) -> list[_Placed]:
        """The devices of the file, and the one of flags and variables: new, or laid over that of its name."""
        placed = [_Placed(table, self.place("device", index)) for index, table in enumerate(self.table.device)]
        name = self.device_name()
        if name is None:
            self.orphans()
            return placed
        update: dict[str, Any] = {}
        if "device_host" in self.given:
            update["host"], port = self.take("device_host", Annotated[Any, PlainValidator(_read_host_port)], ("", None))
            update |= {} if port is None else {"port": port}
        if "bfd_oper_status_oid" in self.given:
            update |= {"profile": "oid", "oid": self.take("bfd_oper_status_oid", OidText, ""), "values": "oper"}
        for index, device in enumerate(placed):
            if device.table.name == name:
                placed[index] = _Placed(device.table.model_copy(update=update), device.place)
                return placed
        if "host" not in update:
            self.fail(self.given["device_name"].place, f"the device {name} has no address: give --device-host")
            update["host"] = ""
        place = self.given.get("device_name", self.given.get("device_host", _Given(None))).place
        # Read above, so it is only put together here; a fault has already been kept.
        return [*placed, _Placed(_Device.model_construct(name=name, **update), place)]

    def device_name(self) -> str | None:
        """The name of the device of flags and variables: its host's where only that was given."""
        if "device_name" in self.given:
            return self.take("device_name", NameText, "device")
        if "device_host" in self.given:
            try:
                return _read_name(_read_host_port(self.given["device_host"].value)[0])
            except ValueError:
                return "device"  # the host's own fault is kept where it is read
        return None

    def orphans(self) -> None:
        """Refuses what says something of a device when none was named."""
        for key in ("bfd_oper_status_oid", "prefixes"):
            if key in self.given:
                self.fail(self.given[key].place, "belongs to a device: give --device-name (DEVICE_NAME) with it")

    def devices(self, placed: Sequence[_Placed]) -> tuple[DeviceSettings, ...]:
        """Every device with the defaults of [snmp]; names are unique."""
        # Refused in their own right even where every device has its own.
        default = self.default_community()
        seen: dict[str, str] = {}
        devices = []
        for device in placed:
            name = device.table.name
            self.check_name(device)
            if name in seen:
                self.fail(f"{device.place}.name", f"the device {name} was already given at {seen[name]}: rename one")
            seen.setdefault(name, device.place.rpartition(" ")[2])
            devices.append(self.device(device, default))
        devices += self.added_devices(seen.keys(), default)
        if not devices and not self.lost and not self.faults:
            self.fail(str(self.file), 'has no device: add [[device]] with name = "edge1" and host = "192.0.2.1"')
        return tuple(devices)

    def check_name(self, placed: _Placed) -> None:
        """A device cannot be called what stands for all of them."""
        if placed.table.name == "*":
            self.fail(f"{placed.place}.name", '"*" means every device in `sessions`: give it another name')

    def added_devices(self, taken: Iterable[str], community: Secret) -> list[DeviceSettings]:
        """Those that were added over HTTP, but for those that the file has too."""
        if self.stored is None:
            return []
        devices = []
        for name, written in self.stored(self.storage().path).items():
            if name in taken:
                if written is not LOST:
                    self.superseded.append(name)
                continue
            if written is LOST:
                text = (
                    "was added over HTTP, and the journal has it no more: nobody asks it, and what follows it stays as "
                    "it is; add it again, or take it out of the configuration and reload"
                )
                self.unreadable.append(ConfigError(added_place(name), text))
                self.lost[name] = True
                continue
            aside, self.faults = self.faults, []
            table = self.added_table(name, written)
            if table is None:  # what an older or a newer version of ours took must not keep us from starting
                self.unreadable += self.faults
                self.lost[name] = False  # nor what follows it
            self.faults = aside
            if table is not None:
                devices.append(replace(self.device(table, community), origin="api"))
        return devices

    def followed(self, services: Iterable[Service], windows: Iterable[Window]) -> tuple[str, ...]:
        """The devices that nobody can ask and that something is about: they stay unknown, which is not Down."""
        follows = {selector.device for service in services for selector in service.selectors}
        named = follows.union(*({*each.devices, *(one.device for one in each.sessions)} for each in windows))
        return tuple(name for name, meant in self.lost.items() if name in named or (meant and "*" in follows))

    def added_table(self, name: str, written: Written) -> _Placed | None:
        """A device's table as it was sent, None where it is none, with its faults kept."""
        place = added_place(name)
        faults = len(self.faults)
        try:
            table = _Device.model_validate({key: value for key, value in written.items() if value is not None})
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                location = ("device", *fault["loc"])
                self.fail(f"{place}.{_path(fault['loc'])}".rstrip("."), _say(fault, location))
            return None
        placed = _Placed(table, place)
        self.check_name(placed)
        if name in {".", ".."}:
            self.fail(f"{place}.name", "no address of the API could name it: give it another name")
        for key, secret in _secrets_of(table):
            self.check_sent(f"{place}.{key}", secret.reveal())
        return placed if len(self.faults) == faults else None

    def check_sent(self, place: str, secret: str) -> None:
        """A secret that was sent over HTTP is one itself: it could else bring any file or variable of ours to light."""
        if secret.startswith(("env:", "file:")):
            self.fail(
                place,
                "env: and file: are for the configuration file alone: send the secret itself, or write the device "
                "into the file",
            )
        elif len(secret) > LONGEST_SECRET or not secret.isprintable():
            self.fail(place, f"must be text of at most {LONGEST_SECRET} printable characters")

    def default_community(self) -> Secret:
        given = self.given_secret("snmp_community")
        if given is not None:
            return given
        if self.table.snmp.community is not None:
            return self.file_secret(self.table.snmp.community, "snmp", "community")
        return Secret(DEFAULT_COMMUNITY)

    def device(self, placed: _Placed, community: Secret) -> DeviceSettings:
        """One device with the defaults of [snmp]."""
        table, snmp = placed.table, self.table.snmp
        self.check_oid(placed)
        engine: EngineName = table.engine or snmp.engine or "auto"
        interval: float = table.interval or self.take_interval() or 1.0
        version: SnmpVersion = table.version or snmp.version or "2c"
        if engine == "gufo" and version != "2c":
            why = "does not read version 1" if version == "1" else "checks no digests of version 3"
            self.fail(f"{placed.place}.engine", f'"gufo" {why}: use "pysnmp" or "auto" for it')
        if table.community is not None:
            community = self.secret(f"{placed.place}.community", table.community, self.file and self.file.parent)
        return DeviceSettings(
            name=table.name,
            host=table.host,
            port=table.port,
            version=version,
            community=community,
            interval=interval,
            timeout=table.timeout or snmp.timeout or 1.0,
            retries=_first(table.retries, snmp.retries, 1),
            stale_after=self.stale_after(placed, interval),
            fast_interval=self.fast_interval(placed, interval),
            engine=engine,
            profile=table.profile,
            oid=table.oid,
            values=table.values,
            user=self.device_user(placed, version),
            contexts=self.contexts(placed, version),
            max_varbinds=table.max_varbinds or snmp.max_varbinds or 40,
            trap_from=tuple(table.trap_from),
            trust=self.trust(placed, version),
        )

    def device_user(self, placed: _Placed, version: SnmpVersion) -> User | None:
        """As whom a device is asked in version 3, key by key its own or that of [snmp]."""
        if version != "3":
            for key in ("user", "auth_protocol", "auth_key", "priv_protocol", "priv_key"):
                if getattr(placed.table, key) is not None:
                    self.fail(f"{placed.place}.{key}", f'belongs to version = "3", not to "{version}"')
            return None
        said: dict[str, Any] = {}
        places: dict[str, str] = {}
        for key in ("user", "auth_protocol", "auth_key", "priv_protocol", "priv_key"):
            own = getattr(placed.table, key)
            said[key] = own if own is not None else getattr(self.table.snmp, key)
            places[key] = f"{placed.place}.{key}" if own is not None else self.place("snmp", key)
        if said["user"] is None:
            self.fail(f"{placed.place}.user", 'is missing: version 3 needs one, for example user = "bfd"')
            return None
        return self.user(said["user"], said, places)

    def user(self, name: str, said: Mapping[str, Any], places: Mapping[str, str]) -> User:
        """A user with the secrets that its keys stand for; each protection has both a protocol and a key."""
        keys: dict[str, Secret | None] = {}
        for kind, example in (("auth", "sha256"), ("priv", "aes128")):
            protocol, key = said[f"{kind}_protocol"], said[f"{kind}_key"]
            if key is not None and protocol is None:
                self.fail(places[f"{kind}_key"], f'has no protocol: add {kind}_protocol = "{example}"')
            if protocol is not None and key is None:
                self.fail(places[f"{kind}_protocol"], f'has no key: add {kind}_key = "env:SNMP_{kind.upper()}_KEY"')
            keys[kind] = None if key is None else self.pass_phrase(places[f"{kind}_key"], key)
        if said["priv_protocol"] is not None and said["auth_protocol"] is None:
            self.fail(places["priv_protocol"], 'needs authentication too (RFC 3414): add auth_protocol = "sha256"')
        return User(name, said["auth_protocol"], keys["auth"], said["priv_protocol"], keys["priv"])

    def pass_phrase(self, place: str, written: Secret) -> Secret:
        faults = len(self.faults)
        key = self.secret(place, written, self.file and self.file.parent)
        if len(self.faults) == faults and len(key.reveal().encode()) < SHORTEST_KEY:
            self.fail(place, f"is too short: a pass phrase has at least {SHORTEST_KEY} octets (RFC 3414)")
        return key

    def contexts(self, placed: _Placed, version: SnmpVersion) -> tuple[Context, ...]:
        """The views of a device; versions 1 and 2c know a view by a community of its own."""
        table, snmp = placed.table, self.table.snmp
        names = _first(table.contexts, snmp.contexts, [])
        written = _first(table.context_communities, snmp.context_communities, {})
        place = placed.place if table.context_communities is not None else self.place("snmp")
        communities = {
            name: self.secret(f"{place}.context_communities.{name}", secret, self.file and self.file.parent)
            for name, secret in written.items()
        }
        place = f"{placed.place}.contexts" if table.contexts is not None else self.place("snmp", "contexts")
        if len(set(names)) < len(names):
            self.fail(place, "names a context twice")
        for name in names if version != "3" else ():
            if name and name not in communities:
                self.fail(
                    place,
                    f"version {version} knows the context {name} by a community only: "
                    f'add context_communities = {{ {name} = "env:..." }}, or use version = "3"',
                )
        return tuple(Context(name, communities.get(name)) for name in names)

    def trust(self, placed: _Placed, version: SnmpVersion) -> bool:
        """Whether a device's notifications count at once: they must be authenticated for that."""
        said = placed.table.trust
        auth = _first(placed.table.auth_protocol, self.table.snmp.auth_protocol)
        able = version == "3" and auth is not None
        if said and not able:
            self.fail(
                f"{placed.place}.trust",
                'only SNMPv3 notifications with auth_protocol can be trusted: use version = "3", or leave it out',
            )
        if said is None and self.table.traps is not None:
            return self.table.traps.trust and able
        return bool(said)

    def traps(self) -> TrapSettings | None:
        """Where notifications arrive."""
        table = self.table.traps
        if table is None:
            return None
        users = []
        for number, user in enumerate(table.user):
            said = {key: getattr(user, key) for key in _User.model_fields}
            users.append(self.user(user.name, said, {key: self.place("traps", "user", number, key) for key in said}))
        communities = [
            self.file_secret(secret, "traps", "communities", number) for number, secret in enumerate(table.communities)
        ]
        return TrapSettings(table.listen, tuple(communities), tuple(users), table.receive_buffer, table.trust)

    def proxy(self) -> ProxySettings:
        """What the SNMP proxy may ask."""
        table = self.table.snmp_proxy
        return ProxySettings(tuple(table.allow), table.concurrency, table.queue, table.keep, table.timeout)

    def take_interval(self) -> float | None:
        """The default of [snmp], or what a flag or variable says instead."""
        if "poll_interval" not in self.given:
            return self.table.snmp.interval
        given = self.given["poll_interval"]
        return self.read(Interval, _number(given.value), given.place, self.table.snmp.interval)

    def stale_after(self, placed: _Placed, interval: float) -> float:
        """The seconds of silence that a device is granted; three polls where nothing was said."""
        said = placed.table.stale_after or self.table.snmp.stale_after
        if said is None:
            return max(10.0, 3 * interval)
        if said <= interval:
            if placed.table.stale_after is not None:
                place = f"{placed.place}.stale_after"
            elif placed.table.interval is not None:
                place = f"{placed.place}.interval"
            else:
                place = self.place("snmp", "stale_after")
            self.fail(
                place,
                f"stale_after = {said:g} s is not more than the {interval:g} s between two polls, so that every "
                f"session would be unknown between them: leave it out, or give {max(10.0, 3 * interval):g}",
            )
        return said

    def fast_interval(self, placed: _Placed, interval: float) -> float:
        """The seconds between two polls while something changes; half of the interval where nothing was said."""
        said = placed.table.fast_interval or self.table.snmp.fast_interval
        if said is None:
            return min(interval, max(0.05, interval / 2))
        if said > interval:
            if placed.table.fast_interval is not None:
                place = f"{placed.place}.fast_interval"
            elif placed.table.interval is not None:
                place = f"{placed.place}.interval"
            else:
                place = self.place("snmp", "fast_interval")
            self.fail(
                place,
                f"fast_interval = {said:g} s is slower than the {interval:g} s between two polls: "
                f"leave it out, or give at most {interval:g}",
            )
        return said

    def check_oid(self, placed: _Placed) -> None:
        """Profile `oid` needs both of its keys, and no other profile has them."""
        table = placed.table
        if table.profile == "oid":
            for key in ("oid", "values"):
                if getattr(table, key) is None:
                    example = 'values = "oper" or "state"' if key == "values" else 'oid = "1.3.6.1.2.1.222.1.2.1.11"'
                    self.fail(f"{placed.place}.{key}", f'is missing: profile "oid" needs {example}')
            return
        for key in ("oid", "values"):
            if getattr(table, key) is not None:
                self.fail(f"{placed.place}.{key}", f'belongs to profile = "oid", not to "{table.profile}"')

    # -- services

    def services(self, devices: Sequence[str]) -> tuple[Service, ...]:
        """Every service of the file, and the one of --prefix; names, prefixes and watchdogs are unique."""
        services = []
        names: dict[str, str] = {}
        prefixes: dict[Prefix, str] = {}
        watchdogs: dict[str, str] = {}
        for index, table in enumerate(self.table.service):
            if table.name in names:
                self.fail(
                    self.place("service", index, "name"),
                    f"the service {table.name} was already given at {names[table.name]}: rename one",
                )
            names.setdefault(table.name, f"service[{index}]")
            for number, prefix in enumerate(table.prefixes):
                self.claim(prefixes, prefix, table.name, self.place("service", index, "prefixes", number))
            if table.watchdog in watchdogs:
                self.fail(
                    self.place("service", index, "watchdog"),
                    f"{table.watchdog} already belongs to the service {watchdogs[table.watchdog]}: "
                    "a watchdog belongs to one service",
                )
            elif table.watchdog is not None:
                watchdogs[table.watchdog] = table.name
            services.append(self.service(index, table, devices))
        if "prefixes" in self.given and (name := self.device_name()) is not None:
            services.append(self.given_service(name, names, prefixes))
        return tuple(services)

    def claim(self, prefixes: dict[Prefix, str], prefix: Prefix, service: str, place: str) -> None:
        """Refuses a prefix that two services would fight over."""
        owner = prefixes.get(prefix)
        if owner == service:
            self.fail(place, f"{prefix} is listed twice: leave one out")
        elif owner is not None:
            self.fail(place, f"{prefix} already belongs to the service {owner}: a prefix belongs to one service")
        prefixes.setdefault(prefix, service)

    def given_service(self, name: str, names: Mapping[str, str], prefixes: dict[Prefix, str]) -> Service:
        """The service that --prefix makes: it follows every session of the device, and has the device's name."""
        given = self.given["prefixes"]
        if name in names:
            self.fail(
                given.place, f"the service {name} is already at {names[name]} of {self.file}: add the prefix there"
            )
        routes: list[Route] = []
        for text in given.value:
            prefix: Prefix | None = self.read(PrefixText, text, given.place, None)
            if prefix is not None:
                self.claim(prefixes, prefix, name, given.place)
                routes.append(Route(prefix))
        return Service(name, tuple(routes), (Selector(name, "*"),))

    def service(self, index: int, table: _Service, devices: Sequence[str]) -> Service:
        """One service of the file as the core knows it."""
        for number, selector in enumerate(table.sessions):
            if selector.device not in devices and selector.device != "*":
                hint = _suggest(selector.device, devices) or _known(devices)
                self.fail(
                    self.place("service", index, "sessions", number),
                    f"service {table.name} follows {selector}, but there is no device {selector.device}{hint}",
                )
        for key in ("sessions", "neighbors"):
            self.check_twice(getattr(table, key), "service", index, key)
        self.check_communities(table, "service", index)
        self.check_require(index, table)
        self.check_watchdog(index, table)
        self.check_keep_last(index, table)
        return Service(
            name=table.name,
            routes=self.targets(index, table),
            selectors=tuple(table.sessions),
            require=table.require,
            rise=table.rise,
            fall=table.fall,
            hold_up=table.hold_up,
            confirm=table.confirm,
            confirm_timeout=table.confirm_timeout,
            on_admin_down=Reading(table.on_admin_down),
            on_missing=Reading(table.on_missing),
            on_unknown=Reading(table.on_unknown),
            steps=self.steps(index, table),
            on_down=None if table.on_down is None else self.change(table.on_down, "service", index, "on_down"),
            damping=None if table.damping is None else self.damping(table.damping, index),
            drain_time=table.drain_time,
            disable_file=None if table.disable_file is None else str(self.path(table.disable_file)),
            on_disable=Action.DRAIN if table.on_disable == "drain" else Action.WITHDRAW,
            keep_last=table.keep_last,
        )

    def check_communities(self, table: _Service | _Change, *location: int | str) -> None:
        for key in ("communities", "large_communities", "extended_communities"):
            self.check_twice(getattr(table, key) or (), *location, key)

    def check_twice(self, values: Sequence[object], *location: int | str) -> None:
        for number, value in enumerate(values):
            if value in values[:number]:
                self.fail(self.place(*location, number), f"{value} is listed twice: leave one out")

    def check_require(self, index: int, table: _Service) -> None:
        """More sessions than can ever be matched would keep the service down for ever."""
        wild = any("*" in (selector.device, selector.pattern) for selector in table.sessions)
        if table.require != "all" and table.require > len(table.sessions) and not wild:
            self.fail(
                self.place("service", index, "require"),
                f"{table.require} sessions are required, but only {len(table.sessions)} are listed: "
                f'list more, use "device/*", or require at most {len(table.sessions)}',
            )

    def check_keep_last(self, index: int, table: _Service) -> None:
        """Who is the last, only the other sites can tell."""
        if table.keep_last and self.table.storage.mongodb is None:
            self.fail(
                self.place("service", index, "keep_last"),
                'needs the word of the other sites: set [storage] mongodb = "mongodb://..." to the one they share, '
                "or leave keep_last out",
            )

    def check_watchdog(self, index: int, table: _Service) -> None:
        """A service has prefixes or a watchdog; with a watchdog alone it has nothing that describes a route."""
        if table.prefixes:
            return
        if table.watchdog is None:
            self.fail(
                self.place("service", index, "prefixes"),
                f'is missing, for example {_EXAMPLES["prefixes"]}; or give watchdog = "NAME", for the routes of '
                "ExaBGP's configuration that carry it",
            )
            return
        for key in ("next_hop", "neighbors", *Change.__dataclass_fields__, "step", "on_down"):
            if getattr(table, key) not in (None, [], ()):
                self.fail(
                    self.place("service", index, key),
                    f"the routes of watchdog {table.watchdog} stand in ExaBGP's configuration, and only come and go: "
                    "write it there and leave it out here, or give prefixes",
                )

    # -- ladders and damping

    def steps(self, index: int, table: _Service) -> tuple[Rung, ...]:
        """The ladder, the better step first; refuses one that has gaps or contradicts itself."""
        self.check_ups(index, table)
        rungs = []
        for number, step in enumerate(table.step):
            location = ("service", index, "step", number)
            if step.withdraw and _changes(step):
                self.fail(
                    self.place(*location, "withdraw"),
                    f"what is withdrawn has no {' or '.join(_changes(step))}: leave out the one or the other",
                )
            change = None if step.withdraw else self.change(step, *location)
            rungs.append((Rung(step.up, change), self.place(*location)))
        rungs.sort(key=lambda placed: -placed[0].up)
        self.check_order(index, table, rungs)
        return tuple(rung for rung, _ in rungs)

    def check_ups(self, index: int, table: _Service) -> None:
        """Each step has fewer sessions than are required, its own number of them, and no number is left out."""
        wild = any(selector.pattern == "*" for selector in table.sessions)
        full = len(table.sessions) if table.require == "all" else table.require
        # How many `all` are is not known beforehand where a star may match any number.
        top = None if table.require == "all" and wild else full
        ups: set[int] = set()
        for number, step in enumerate(table.step):
            place = self.place("service", index, "step", number, "up")
            if top is not None and step.up >= top:
                remedy = f"give at most {top - 1}" if top > 1 else "require more sessions, or leave the step out"
                self.fail(place, f"with {step.up} up nothing is amiss, since {top} are enough for `require`: {remedy}")
            elif step.up in ups:
                self.fail(place, f"a step with up = {step.up} was already given: leave one out")
            else:
                ups.add(step.up)
        # A wrong number has been refused above, and is no gap beside.
        if not ups or len(ups) < len(table.step):
            return
        highest = max(ups) if top is None else top - 1
        count = highest - min(ups) + 1 - len(ups)
        if count > 0:
            # Only the first few are looked for: `require` may be any number.
            missing = [*islice((number for number in range(highest, min(ups), -1) if number not in ups), 5)]
            more = f" and {count - 5} more" if count > 5 else ""
            self.fail(
                self.place("service", index, "step"),
                f"is a ladder with gaps: it says nothing of {', '.join(map(str, missing))}{more} sessions up: "
                f"add [[service.step]] with up = {missing[0]}",
            )

    def check_order(self, index: int, table: _Service, rungs: Sequence[tuple[Rung, str]]) -> None:
        """What a step withdrew, no lower one announces again."""
        gone: Rung | None = None
        remedy = "with fewer sessions it cannot be better: withdraw here too, or announce there"
        for rung, place in rungs:
            if gone is not None and rung.change is not None:
                self.fail(place, f"contradicts the step with up = {gone.up}, which withdraws: {remedy}")
            if gone is None and rung.change is None:
                gone = rung
        if gone is not None and table.on_down is not None:
            self.fail(
                self.place("service", index, "on_down"),
                f"contradicts the step with up = {gone.up}, which withdraws: {remedy}",
            )

    def change(self, table: _Change, *location: int | str) -> Change:
        """What is other about the routes; at least one thing is."""
        said = _changes(table)
        if not said:
            remedy = "or withdraw = true" if isinstance(table, _Step) else 'or "withdraw"'
            self.fail(
                self.place(*location),
                f"says nothing that changes: give one of {', '.join(Change.__dataclass_fields__)}, {remedy}",
            )
        self.check_communities(table, *location)
        return Change(**said)

    def damping(self, table: _Damping, index: int) -> Damping:
        """Flap damping whose thresholds are in their order."""
        for low, high in (("penalty", "ceiling"), ("cutoff", "ceiling"), ("reuse", "cutoff")):
            least, most = getattr(table, low), getattr(table, high)
            if least < most or (least == most and high == "ceiling"):
                continue
            # At the one that was written; the other is perhaps its default.
            key = low if low in table.model_fields_set else high
            self.fail(
                self.place("service", index, "damping", key),
                f"{low} = {least:g} must be {'at most' if high == 'ceiling' else 'less than'} {high} = {most:g}: "
                "change one of them",
            )
        return Damping(table.penalty, table.cutoff, table.reuse, table.half_life, table.ceiling)

    # -- routes

    def targets(self, index: int, table: _Service) -> tuple[Target, ...]:
        """What the service announces: its prefixes, then its watchdog."""
        routes: list[Target] = [self.route(index, table, number) for number in range(len(table.prefixes))]
        return (*routes, Watchdog(table.watchdog)) if table.watchdog is not None else tuple(routes)

    def route(self, index: int, table: _Service, number: int) -> Route:
        """One prefix with the service's attributes and the next hop of its family."""
        prefix = table.prefixes[number]
        return Route(
            prefix=prefix,
            next_hop=self.next_hop(index, table, prefix),
            neighbors=tuple(table.neighbors),
            med=table.med,
            local_preference=table.local_preference,
            communities=tuple(table.communities),
            large_communities=tuple(table.large_communities),
            extended_communities=tuple(table.extended_communities),
            as_path=tuple(table.as_path),
        )

    def next_hop(self, index: int, table: _Service, prefix: Prefix) -> Address | Literal["self"]:
        """The next hop of the prefix's family; every one that is given must have a prefix, and the reverse."""
        if not table.next_hop:
            return "self"
        place = self.place("service", index, "next_hop")
        for hop in table.next_hop:
            if not any(hop.version == other.version for other in table.prefixes) and len(table.next_hop) > 1:
                self.fail(place, f"{hop} is IPv{hop.version}, but no prefix of the service is: leave it out")
        for hop in table.next_hop:
            if hop.version == prefix.version:
                return hop
        have = " and ".join(map(str, table.next_hop))
        self.fail(
            place,
            f"{have} cannot be the next hop of {prefix}, which is IPv{prefix.version}: "
            'give one address of each family of the prefixes, or "self"',
        )
        return "self"

    # -- windows and the guard

    def windows(self, devices: Sequence[str], services: Sequence[str]) -> tuple[Window, ...]:
        """Every maintenance window; names are unique."""
        seen: dict[str, int] = {}
        for index, table in enumerate(self.table.window):
            if table.name in seen:
                self.fail(
                    self.place("window", index, "name"),
                    f"the window {table.name} was already given at window[{seen[table.name]}]: rename one",
                )
            seen.setdefault(table.name, index)
        return tuple(self.window(index, table, devices, services) for index, table in enumerate(self.table.window))

    def window(self, index: int, table: _Window, devices: Sequence[str], services: Sequence[str]) -> Window:
        """One window as the core knows it."""
        self.check_scope(index, table, devices, services)
        reading, action = self.window_action(index, table)
        return Window(
            name=table.name,
            when=self.span(index, table) if table.weekly is None else self.weekly(index, table, table.weekly),
            devices=tuple(table.devices),
            sessions=tuple(table.sessions),
            reading=reading,
            services=tuple(table.services),
            action=action,
            reason=table.reason,
        )

    def leased(self, services: Sequence[Service]) -> tuple[str, ...]:
        """The services under the lease: those of the file that ask for it, and that of the flags with the flag."""
        asked = {table.name for table in self.table.service if table.lease}
        written = {table.name for table in self.table.service}
        return tuple(
            service.name
            for service in services
            if service.name in asked or (service.name not in written and "lease" in self.given)
        )

    def check_scope(self, index: int, table: _Window, devices: Sequence[str], services: Sequence[str]) -> None:
        """A window is of devices and sessions that there are, or of services that there are."""
        if table.services and (table.devices or table.sessions):
            self.fail(
                self.place("window", index, "services"),
                "a window is of devices and sessions, or of services: make two windows of it",
            )
        elif not (table.services or table.devices or table.sessions):
            self.fail(
                self.place("window", index),
                f"says nothing of what it is: give {_EXAMPLES['devices']}, {_EXAMPLES['sessions']} "
                f"or {_EXAMPLES['services']}",
            )
        for key in ("devices", "sessions", "services"):
            self.check_twice(getattr(table, key), "window", index, key)
        named = [("devices", number, name, devices) for number, name in enumerate(table.devices)]
        named += [("sessions", number, selector.device, devices) for number, selector in enumerate(table.sessions)]
        named += [("services", number, name, services) for number, name in enumerate(table.services)]
        for key, number, name, known in named:
            if name not in known:
                kind = "service" if key == "services" else "device"
                self.fail(
                    self.place("window", index, key, number),
                    f"there is no {kind} {name}{_suggest(name, known) or _known(known)}",
                )

    def window_action(self, index: int, table: _Window) -> tuple[Literal[Reading.HOLD, Reading.DOWN], Action]:
        """What the sessions count as, or what is ordered of the services: the other kind has its default."""
        place = self.place("window", index, "action")
        if table.action in {"hold", "down"}:
            if table.services:
                self.fail(
                    place,
                    f'"{table.action}" is of devices and sessions: a window of services has "freeze", "drain", '
                    '"withdraw" or "announce"',
                )
            return (Reading.DOWN if table.action == "down" else Reading.HOLD), Action.FREEZE
        if table.action is not None and not table.services and (table.devices or table.sessions):
            self.fail(place, f'"{table.action}" is of services: a window of devices and sessions has "hold" or "down"')
        return Reading.HOLD, Action(table.action or "freeze")

    def weekly(self, index: int, table: _Window, rule: tuple[frozenset[int], int, int]) -> Weekly:
        """A window that comes each week."""
        for key in ("start", "end"):
            if getattr(table, key) is not None:
                self.fail(
                    self.place("window", index, key),
                    "a window has start and end, or weekly and duration: leave out the one or the other",
                )
        if table.duration is None:
            self.fail(self.place("window", index, "duration"), 'is missing beside weekly, for example duration = "2h"')
        days, hour, minute = rule
        return Weekly(days, hour, minute, table.duration or 0.0, table.zone)

    def span(self, index: int, table: _Window) -> Span:
        """A window that comes once; one that is over stays legal, and never opens."""
        if table.duration is not None:
            self.fail(
                self.place("window", index, "duration"),
                'belongs to weekly = "sat,sun 02:00": give weekly, or start and end',
            )
        elif table.start is None and table.end is None:
            self.fail(
                self.place("window", index),
                'never comes: give start = 2026-12-01T02:00:00Z, end, or both, or weekly = "sat,sun 02:00"',
            )
        start, end = (_epoch(moment, table.zone) for moment in (table.start, table.end))
        if start is not None and end is not None and end <= start:
            self.fail(
                self.place("window", index, "end"),
                f"{_moment(table.end, table.zone)} is not after start, {_moment(table.start, table.zone)}: "
                "exchange them, or leave one out",
            )
        return Span(start, end)

    def guard(self) -> Guard:
        """How many services may go: a number, or a share of them."""
        limit, within = self.table.guard.max_withdrawn, self.table.guard.within
        if isinstance(limit, int):
            return Guard(max_withdrawn=limit, within=within)
        return Guard(max_share=limit, within=within)

    # -- the rest

    def api_listen(self) -> Listen | None:
        """Where the API listens: beyond loopback only with keys, since without them everybody may read."""
        listen: Listen | None = self.take("listen", ApiListenText, self.table.api.listen)
        if listen is None or listen.host == "localhost" or ip_address(listen.host).is_loopback or self.table.api.key:
            return listen
        place = self.given["listen"].place if "listen" in self.given else self.place("api", "listen")
        self.fail(
            place,
            f"{listen.host} is not loopback: without [[api.key]] the API listens on loopback only, "
            "127.0.0.1:8080 or [::1]:8080: listen there, or add [[api.key]] with name, role and sha256",
        )
        return listen

    def api_keys(self) -> tuple[ApiKey, ...]:
        """The keys, whose hashes are unique; several of one name are of one role."""
        roles: dict[str, Role] = {}
        hashes = [key.sha256 for key in self.table.api.key]
        for index, key in enumerate(self.table.api.key):
            if roles.setdefault(key.name, key.role) != key.role:
                self.fail(
                    self.place("api", "key", index, "role"),
                    f"is {key.role}, and that of an earlier key named {key.name} is {roles[key.name]}: "
                    "keys of one name are of one role, so give it the same, or another name",
                )
            if key.sha256 in hashes[:index]:
                self.fail(self.place("api", "key", index, "sha256"), "is the hash of an earlier key: give each its own")
        return tuple(ApiKey(key.name, key.role, key.sha256, tuple(key.networks)) for key in self.table.api.key)

    def api_tls(self) -> TlsSettings | None:
        """The certificate and its key, both or neither; what they hold is tried out by who serves with them."""
        certificate, key = self.table.api.tls_certificate, self.table.api.tls_key
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            present, missing = ("tls_key", "tls_certificate") if certificate is None else ("tls_certificate", "tls_key")
            self.fail(self.place("api", present), f"needs {missing} too: the certificate with its chain, and its key")
            return None
        digest = hashlib.sha256()
        files = {"tls_certificate": self.path(certificate), "tls_key": self.path(key)}
        for name, path in files.items():
            try:
                with path.open("rb") as stream:
                    digest.update(hashlib.sha256(stream.read(_CERTIFICATE_LIMIT)).digest())
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or "not a path"
                remedy = "it must exist, and the user that ExaBGP runs us as must be able to read it"
                self.fail(self.place("api", name), f"{path} cannot be read ({why}): {remedy}")
        return TlsSettings(files["tls_certificate"], files["tls_key"], digest.hexdigest())

    def webhook(self) -> WebhookSettings:
        """Who may report: the secrets of a flag or variable instead of the file's, and the senders with names."""
        table = self.table.webhook
        given = self.given_secret("webhook_secret")
        secrets = (given,) if given is not None else self.webhook_secrets(table.secrets, "webhook", "secrets")
        if given is not None:
            self.usable_secret(self.given["webhook_secret"].place, given)
        senders = tuple(self.sender(index, each) for index, each in enumerate(table.sender))
        known = set(secrets)
        names: set[str] = set()
        for index, sender in enumerate(senders):
            if sender.name in names:
                self.fail(
                    self.place("webhook", "sender", index, "name"),
                    f"the sender {sender.name} was already given: give one sender several secrets, or another name",
                )
            names.add(sender.name)
            if known & set(sender.secrets):
                self.fail(
                    self.place("webhook", "sender", index, "secrets"),
                    "has the secret of another sender: nobody could tell who reports, so give each its own",
                )
            known |= set(sender.secrets)
        return WebhookSettings(secrets, table.effect, table.repeats, senders)

    def sender(self, index: int, table: _Sender) -> SenderSettings:
        """One sender, with what his secrets stand for."""
        return SenderSettings(
            table.name,
            self.webhook_secrets(table.secrets, "webhook", "sender", index, "secrets"),
            table.effect,
            table.format,
            table.auth,
            table.effect != "observe" if table.repeats is None else table.repeats,
        )

    def webhook_secrets(self, written: Sequence[Secret], *location: int | str) -> tuple[Secret, ...]:
        """Secrets of the file, which are of one of the two kinds."""
        secrets = tuple(self.file_secret(secret, *location, index) for index, secret in enumerate(written))
        for index, secret in enumerate(secrets):
            self.usable_secret(self.place(*location, index), secret)
        return secrets

    def usable_secret(self, place: str, secret: Secret) -> None:
        """A secret that begins as those of Standard Webhooks do is one."""
        text = secret.reveal()
        if not text.startswith("whsec_"):
            return
        try:
            octets = base64.b64decode(text.removeprefix("whsec_").encode(), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            octets = b""
        if not 24 <= len(octets) <= 64:
            self.fail(
                place,
                "begins with whsec_ and is no secret of Standard Webhooks: base64 of 24 to 64 octets follows; "
                "`exabgp-bfd key secret` makes one",
            )

    def notify(self, services: Sequence[str]) -> tuple[Endpoint, ...]:
        """Who is told of events; a name that none of `services` has would never be told of anything."""
        names: set[str] = set()
        endpoints = []
        if len(self.table.notify) > MOST_ENDPOINTS:
            self.fail(
                self.place("notify"), f"has {len(self.table.notify)} endpoints, at most {MOST_ENDPOINTS} are told"
            )
        for index, table in enumerate(self.table.notify):
            place = self.place("notify", index)
            if table.name in names:
                self.fail(f"{place}.name", f"the endpoint {table.name} was already given: give it another name")
            names.add(table.name)
            for pattern in table.services:
                if not {"*", "?"} & {*pattern} and pattern not in services:
                    self.fail(f"{place}.services", f"there is no service {_show(pattern)}{_suggest(pattern, services)}")
            endpoint = self.endpoint(index, table)
            if endpoint is not None:
                endpoints.append(endpoint)
        return tuple(endpoints)

    def endpoint(self, index: int, table: _Notify) -> Endpoint | None:
        """One of them; None where it cannot be built, which is a fault that was kept."""
        before = len(self.faults)
        url = self.file_secret(table.url, "notify", index, "url")
        secrets = self.webhook_secrets(table.secrets, "notify", index, "secrets")
        ca = None if table.ca is None else self.authorities(table.ca, index)
        if len(self.faults) > before:
            return None
        try:
            parts = _split_url(url.reveal())
        except ValueError as error:
            self.fail(self.place("notify", index, "url"), str(error))
            return None
        standard = any(map(is_standard, secrets))
        if table.format in {"standard", "both"} and not standard:
            self.fail(
                self.place("notify", index, "format"),
                f"{table.format} needs a secret that begins with whsec_: `exabgp-bfd key secret` makes one",
            )
        if table.ca is not None and parts.scheme == "http":
            self.fail(self.place("notify", index, "ca"), "is for https; the url begins with http")
        host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
        return Endpoint(
            table.name,
            url,
            secrets,
            table.format or ("both" if standard else "github"),
            tuple(table.events),
            tuple(table.services),
            tuple(table.devices),
            tuple(table.sessions),
            table.timeout,
            table.tries,
            table.max_age,
            table.max_queue,
            f"{parts.scheme}://{host}{'' if parts.port is None else f':{parts.port}'}",
            ca,
        )

    def authorities(self, file: Path, index: int) -> str | None:
        """The certificates in a file, which are believed to have signed a server's."""
        path, place = self.path(file), self.place("notify", index, "ca")
        try:
            with path.open("rb") as stream:
                text = stream.read(_CERTIFICATE_LIMIT).decode()
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
        except (ssl.SSLError, UnicodeDecodeError):
            self.fail(place, f"{path} holds no certificate in PEM")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not a path"
            self.fail(
                place, f"{path} cannot be read ({why}): it must exist, and the user that ExaBGP runs us as may read"
            )
        else:
            return text
        return None

    def storage(self) -> StorageSettings:
        table = self.table.storage
        mongodb = None
        if table.mongodb is not None:
            before = len(self.faults)
            mongodb = self.file_secret(table.mongodb, "storage", "mongodb")
            if not mongodb.reveal().startswith(("mongodb://", "mongodb+srv://")) and len(self.faults) == before:
                self.fail(self.place("storage", "mongodb"), "must begin with mongodb:// or mongodb+srv://")
        return StorageSettings(
            path=self.given_path("db") or self.path(table.path),
            mongodb=mongodb,
            keep_events=table.keep_events,
            keep_messages=table.keep_messages,
            max_events=table.max_events,
            keep_inputs=table.keep_inputs,
        )

    def sites(self) -> SitesSettings:
        """How the sites talk; one that counts for less than two of its heartbeats would come and go."""
        site = self.table.site
        if site.fresh < 2 * site.heartbeat:
            self.fail(
                self.place("site", "fresh"),
                f"must be at least twice the heartbeat ({site.heartbeat:g} s), not {site.fresh:g}: "
                f"fresh = {4 * site.heartbeat:g} is usual",
            )
        return SitesSettings(site.heartbeat, site.fresh)

    def log(self) -> LogSettings:
        table = self.table.log
        return LogSettings(
            level=self.take("log_level", LevelText, table.level),
            file=self.given_path("log_file") or (self.path(table.file) if table.file is not None else None),
            max_bytes=table.max_bytes,
            backups=table.backups,
        )

    def given_path(self, key: str) -> Path | None:
        """A path of a flag or variable, relative to where we were started, as on every command line."""
        path: Path | None = self.take(key, PathText, None)
        return path.absolute() if path is not None else None

    def settings(self) -> Settings:
        """Everything together; raises `SettingsError` with every fault."""
        placed = self.placed()
        targets = self.devices(placed)
        names = [*(target.name for target in targets), *self.lost]
        services = self.services(names)
        windows = self.windows(names, [service.name for service in services])
        lost = self.followed(services, windows)
        speaker = self.table.speaker
        settings = Settings(
            site=self.table.site.name or _host_name(),
            plan=Plan(
                devices=_planned(targets, lost),
                services=services,
                record_polls=self.table.snmp.record_polls,
                windows=windows,
                guard=self.guard(),
                forget_after=self.table.snmp.forget_after,
                reconcile=speaker.reconcile,
            ),
            targets=targets,
            speaker=SpeakerSettings(
                speaker.dialect,
                speaker.ack_timeout,
                speaker.on_exit,
                speaker.adopt_within,
                self.take("lease", LeaseTime, speaker.lease),
                self.leased(services),
            ),
            storage=self.storage(),
            sites=self.sites(),
            webhook=self.webhook(),
            api=self.api_listen(),
            api_keys=self.api_keys(),
            api_tls=self.api_tls(),
            api_networks=tuple(self.table.api.networks),
            api_proxies=tuple(self.table.api.trusted_proxies),
            api_rates=RateSettings(
                self.table.api.rates.requests, self.table.api.rates.burst, self.table.api.rates.failures
            ),
            traps=self.traps(),
            proxy=self.proxy(),
            notify=self.notify([service.name for service in services]),
            log=self.log(),
            file=self.file,
            superseded=tuple(self.superseded),
            unreadable=tuple(self.unreadable),
            lost=lost,
            defaults=Defaults(self.file, self.table.snmp, self.table.traps, self.given, self.environ),
        )
        if self.faults:
            raise SettingsError(self.faults)
        return settings


@dataclass(frozen=True)
class Defaults:
    """What a device that is added over HTTP takes over where it says nothing: [snmp] as it was read, and the flags."""

    file: Path | None = None
    snmp: _Snmp = field(default_factory=_Snmp, repr=False)
    traps: _Traps | None = field(default=None, repr=False)
    given: Mapping[str, _Given] = field(default_factory=dict, repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    def device(self, name: str, written: Written) -> DeviceSettings:
        """A device as it is asked; raises `SettingsError` with every fault, placed as `added_place` says."""
        build = _Build(self.file, _File(snmp=self.snmp, traps=self.traps), self.given, self.environ)
        placed = build.added_table(name, written)
        device = None if placed is None else replace(build.device(placed, build.default_community()), origin="api")
        if device is None or build.faults:
            raise SettingsError(build.faults)
        return device


def with_devices(settings: Settings, targets: Iterable[DeviceSettings]) -> Settings:
    """The settings with these devices, and nothing else changed."""
    targets = tuple(targets)
    there = {target.name for target in targets}
    lost = tuple(name for name in settings.lost if name not in there)
    return replace(settings, targets=targets, lost=lost, plan=replace(settings.plan, devices=_planned(targets, lost)))


def added_place(name: str) -> str:
    """Where the faults of a device that is added over HTTP are said to be; `.KEY` follows."""
    return f"device {name}"


def device_keys(target: DeviceSettings) -> dict[str, Any]:
    """A device by the keys of its table, as they hold, with stars for every secret."""
    user = target.user
    return {
        "name": target.name,
        "host": target.host,
        "port": target.port,
        "version": target.version,
        "community": None if target.version == "3" else "***",
        "interval": target.interval,
        "timeout": target.timeout,
        "retries": target.retries,
        "stale_after": target.stale_after,
        "fast_interval": target.fast_interval,
        "engine": target.engine,
        "profile": target.profile,
        "oid": target.oid,
        "values": target.values,
        "user": None if user is None else user.name,
        "auth_protocol": None if user is None else user.auth_protocol,
        "auth_key": None if user is None or user.auth_key is None else "***",
        "priv_protocol": None if user is None else user.priv_protocol,
        "priv_key": None if user is None or user.priv_key is None else "***",
        "contexts": [context.name for context in target.contexts],
        "context_communities": {context.name: "***" for context in target.contexts if context.community is not None},
        "max_varbinds": target.max_varbinds,
        "trap_from": [str(address) for address in target.trap_from],
        "trust": target.trust,
    }


def _secrets_of(table: _Device) -> Iterator[tuple[str, Secret]]:
    """The secrets of a table, by their places in it."""
    for key in ("community", "auth_key", "priv_key"):
        secret = getattr(table, key)
        if secret is not None:
            yield key, secret
    for name, secret in (table.context_communities or {}).items():
        yield f"context_communities.{name}", secret


def _planned(targets: Iterable[DeviceSettings], lost: Iterable[str]) -> tuple[Device, ...]:
    """Devices as the core knows them, those that nobody asks behind the others."""
    return (*(Device(target.name, target.stale_after, _identity(target)) for target in targets), *map(Device, lost))


def _identity(target: DeviceSettings) -> str:
    """Where and how a device is asked: under another one it is another box."""
    return f"{target.host}:{target.port} {target.profile} {target.oid or ''} {target.values or ''}"


def _known(names: Sequence[str]) -> str:
    """The names one may choose from, as far as a line has room for them."""
    if not names:
        return ""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"; known: {', '.join(names[:10])}{more}"


def _changes(table: _Change) -> dict[str, Any]:
    """What a table says, by the names of `Change`."""
    values = {key: getattr(table, key) for key in Change.__dataclass_fields__}
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if value is not None
    }


def _epoch(moment: datetime | None, zone: tzinfo) -> float | None:
    """Seconds since the epoch; without an offset of its own a moment is of the zone."""
    if moment is None:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()


def _moment(moment: datetime | None, zone: tzinfo) -> str:
    """A moment as its writer knows it, with its zone where it has no offset."""
    if moment is None:
        return "never"
    return moment.isoformat() if moment.tzinfo is not None else f"{moment.isoformat()} ({zone})"


def _first(*values: Any) -> Any:  # noqa: ANN401 the same type goes in and comes out, for each of several keys
    """The first that was said."""
    return next((value for value in values if value is not None), None)


def _host_name() -> str:
    """This host's name as a site's name."""
    try:
        return _read_name(socket.gethostname())
    except (OSError, ValueError):
        return "localhost"


# --- the doors --------------------------------------------------------------------------------------------------


def load(path: Path | None, overrides: Overrides, environ: Mapping[str, str], stored: Stored | None = None) -> Settings:
    """Settings from the file (or `EXABGP_BFD_CONFIG`), the environment over it and the flags over both.

    Without a file, flags and variables alone make a setup of one device. `stored` knows the devices that were added
    over HTTP. Raises `SettingsError`, a `ConfigError`.
    """
    given = _given(overrides, environ)
    if path is None and environ.get(CONFIG_VARIABLE, "").strip():
        path = Path(environ[CONFIG_VARIABLE].strip())
    if path is None and "device_name" not in given and "device_host" not in given:
        raise SettingsError(
            [
                ConfigError(
                    "",
                    "nothing to do yet: give --config FILE (the commented reference is conf/exabgp-bfd.toml), or one "
                    "device with --device-name NAME --device-host HOST (variables DEVICE_NAME and DEVICE_HOST)",
                )
            ]
        )
    table = _read(path) if path is not None else _File()
    return _Build(path, table, given, environ, stored).settings()


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What can be told of settings that are wrong somewhere else."""

    config: str = ""
    """The file, empty without one."""
    api: Listen | None = None
    """Where the API would listen; None: nowhere, or that cannot be told."""
    told: bool = False
    """Whether `api` can be told."""
    journal: Path | None = None


def glimpse(path: Path | None, overrides: Overrides, environ: Mapping[str, str]) -> Glimpse:
    """Where the API and the journal would be by settings that `load` refuses, as far as that is certain; never raises.

    The API's address is as the flags, the variables or a file that can be read say it, or it is not told at all.
    """
    with contextlib.suppress(Exception):  # whatever is wrong is `load`'s to say
        given = _given(overrides, environ)
        if path is None and environ.get(CONFIG_VARIABLE, "").strip():
            path = Path(environ[CONFIG_VARIABLE].strip())
        raw: dict[str, Any] | None = {}
        if path is not None:
            try:
                raw = _parse(path)
            except ConfigError:
                raw = None
        elif "device_name" not in given and "device_host" not in given:
            raw = None
        build = _Build(path, _File(), given, environ)
        api, told = _glimpse_api(build, raw)
        return Glimpse(str(path.absolute()) if path is not None else "", api, told, _glimpse_journal(build, raw))
    return Glimpse()


def _glimpse_api(build: _Build, raw: Mapping[str, Any] | None) -> tuple[Listen | None, bool]:
    if "listen" in build.given:
        listen: Listen | None = build.take("listen", ApiListenText, None)
    elif raw is None:
        return None, False
    else:
        table = raw.get("api", {})
        written = table.get("listen") if isinstance(table, dict) else 0  # no table is no address either
        default = _Api().listen
        listen = default if written is None else build.read(ApiListenText, written, "", None)
    return listen, not build.faults


def _glimpse_journal(build: _Build, raw: Mapping[str, Any] | None) -> Path | None:
    given = build.given_path("db")
    if given is not None or raw is None:
        return given
    table = raw.get("storage", {})
    written = table.get("path") if isinstance(table, dict) else None
    if written is None:
        return build.path(DEFAULT_JOURNAL)
    faults = len(build.faults)
    read = build.read(PathText, written, "", DEFAULT_JOURNAL)
    return build.path(read) if len(build.faults) == faults else None


def describe(settings: Settings) -> dict[str, Any]:
    """The settings as plain values for a log or an event, with stars for every secret."""
    return {
        "file": None if settings.file is None else str(settings.file),
        "site": settings.site,
        "devices": [_plain(target) for target in settings.targets],
        "services": [_plain(service) for service in settings.plan.services],
        "record_polls": settings.plan.record_polls,
        "windows": [_plain(window) for window in settings.plan.windows],
        "guard": _plain(settings.plan.guard),
        "forget_after": settings.plan.forget_after,
        "reconcile": settings.plan.reconcile,
        "speaker": _plain(settings.speaker),
        "storage": _plain(settings.storage),
        "sites": _plain(settings.sites),
        "webhook": _plain(settings.webhook),
        "api": "off" if settings.api is None else str(settings.api),
        "api_keys": [_plain(key) for key in settings.api_keys],
        "api_tls": None if settings.api_tls is None else _plain(settings.api_tls),
        "api_networks": _plain(settings.api_networks),
        "api_proxies": _plain(settings.api_proxies),
        "api_rates": _plain(settings.api_rates),
        "traps": "off" if settings.traps is None else _plain(settings.traps),
        "snmp_proxy": _plain(settings.proxy),
        # A certificate fills pages, and whose it is tells enough.
        "notify": [_plain(replace(each, ca=None)) | {"ca": each.ca is not None} for each in settings.notify],
        "log": _plain(settings.log),
    }


def _plain(value: object) -> Any:  # noqa: ANN401 what JSON can hold
    """Dataclasses as dicts, addresses, paths and zones as text, secrets as stars."""
    match value:
        case Secret():
            return "***"
        case bool() | int() | float() | None:
            return value
        case tuple() | list():
            return [_plain(item) for item in value]
        case frozenset():
            return sorted(_plain(item) for item in value)
        case _ if hasattr(value, "__dataclass_fields__") and not isinstance(value, Selector):
            return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
        case _:
            return str(value)
