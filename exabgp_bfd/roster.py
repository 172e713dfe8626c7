"""The live inventory: devices that are added over HTTP, beside those of the file, and what a change makes of them.

What is asked for is weighed here, against the settings that hold and without changing anything; app carries it out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from exabgp_bfd.config import DeviceSettings, Settings, SettingsError, added_place, device_keys, with_devices
from exabgp_bfd.core.model import ConfigError, Plan, Preview, Secret, Withdraw
from exabgp_bfd.core.written import (
    KEPT_SECRET,
    MOST_DEVICES,
    ConflictError,
    Deed,
    DeviceChange,
    DeviceShown,
    KeepDevice,
    NoSuchDeviceError,
    Written,
)

_SECRETS: Final = ("community", "auth_key", "priv_key")
_SECRET_TABLE: Final = "context_communities"  # noqa: S105 - a key's name
NAMED: Final = 20
"""How many names a refusal lists."""
NOTHING: Final = Preview((), (), (), (), (), ())


@dataclass(frozen=True, slots=True)
class Intended:
    """What a change would make of the inventory."""

    name: str
    settings: Settings
    written: Written | None
    """What is to be kept of the device, None: nothing."""
    target: DeviceSettings | None
    """The device as it is asked then."""
    event_type: str
    details: Mapping[str, Any]
    created: bool = False

    @property
    def keep(self) -> KeepDevice:
        """What the journal is told."""
        text = None if self.written is None else Secret(json.dumps(self.written, sort_keys=True))
        return KeepDevice(self.name, text)


def parse(texts: Mapping[str, str]) -> dict[str, Written]:
    """What was kept of each device; of one that cannot be read nothing, which the configuration then refuses."""
    found: dict[str, Written] = {}
    for name, text in sorted(texts.items()):
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        found[name] = value if isinstance(value, dict) else {}
    return found


def masked(written: Written) -> dict[str, Any]:
    """What was written, with stars for every secret."""
    shown = dict(written)
    for key in _SECRETS:
        if shown.get(key) is not None:
            shown[key] = KEPT_SECRET
    if isinstance(shown.get(_SECRET_TABLE), dict):
        shown[_SECRET_TABLE] = dict.fromkeys(shown[_SECRET_TABLE], KEPT_SECRET)
    return shown


def followers(plan: Plan, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """For each of these devices the services whose `sessions` mean it, or any."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for service in plan.services:
        meant = {selector.device for selector in service.selectors}
        for name in found if "*" in meant else meant & found.keys():
            found[name].append(service.name)
    return {name: tuple(services) for name, services in found.items()}


def shown(settings: Settings, names: Sequence[str], inventory: Mapping[str, Written]) -> list[DeviceShown]:
    """The devices of these names that there are, as anybody may see them, without what only polling knows."""
    wanted = frozenset(names)
    targets = {target.name: target for target in settings.targets if target.name in wanted}
    following = followers(settings.plan, targets)
    return [
        DeviceShown(
            name,
            targets[name].origin,
            device_keys(targets[name]),
            masked(inventory.get(name, {})) if targets[name].origin == "api" else None,
            following[name],
        )
        for name in names
        if name in targets
    ]


def intend(settings: Settings, inventory: Mapping[str, Written], change: DeviceChange) -> Intended | None:
    """What a change would make; None: it is so already.

    Raises SettingsError for what is no device, NoSuchDeviceError, ConflictError for what does not go with the rest.
    """
    return _removed(settings, inventory, change) if change.deed is Deed.REMOVE else _put(settings, inventory, change)


def _put(settings: Settings, inventory: Mapping[str, Written], change: DeviceChange) -> Intended | None:
    said = change.written.get("name")
    name = change.name or (said if isinstance(said, str) else "")
    if change.name is not None and said not in (None, change.name):
        remedy = "a device is not renamed: add another one and remove this, or leave name out"
        raise SettingsError(
            [ConfigError(f"{added_place(name)}.name", f"is not {change.name}, as the path says; {remedy}")]
        )
    before = next((target for target in settings.targets if target.name == name), None)
    if before is not None and before.origin == "file":
        raise _of_the_file(settings, name)
    if before is not None and change.deed is Deed.ADD:
        raise ConflictError(f"there is a device {name} already: PUT /devices/{name} changes it, or take another name")
    kept = inventory.get(name, {}) if before is not None else {}
    written = _unmasked(name, {**change.written, **({"name": name} if change.name is not None else {})}, kept)
    target = settings.defaults.device(name, written)
    if before is None:
        _check_room(settings)
        return Intended(
            name,
            with_devices(settings, (*settings.targets, target)),
            written,
            target,
            "device_added",
            {"host": target.host, "port": target.port, "written": masked(written)},
            created=True,
        )
    if written == kept:
        return None
    return Intended(
        name,
        with_devices(settings, (target if each.name == name else each for each in settings.targets)),
        written,
        target,
        "device_changed",
        {"changed": _differing(kept, written), "written": masked(written)},
    )


def _removed(settings: Settings, inventory: Mapping[str, Written], change: DeviceChange) -> Intended:
    name = change.name or ""
    before = next((target for target in settings.targets if target.name == name), None)
    if before is None:
        raise NoSuchDeviceError(f"there is no device {name}")
    if before.origin == "file":
        raise _of_the_file(settings, name)
    named = tuple(_naming(settings, name))
    if named:
        places = ", ".join(place for place, _ in named[:NAMED])
        raise ConflictError(
            f"the device {name} is named by {places}: take it out of the configuration file and reload, then remove it",
            named[:NAMED],
        )
    if len(settings.targets) == 1:
        raise ConflictError(f"{name} is the only device there is: add another one first")
    return Intended(
        name,
        with_devices(settings, (each for each in settings.targets if each.name != name)),
        None,
        None,
        "device_removed",
        {"written": masked(inventory.get(name, {}))},
    )


def _of_the_file(settings: Settings, name: str) -> ConflictError:
    where = str(settings.file) if settings.file is not None else "flags or variables"
    remedy = "change it there and reload (POST /reload or SIGHUP)" if settings.file else "start again with others"
    return ConflictError(f"the device {name} is of the configuration ({where}): {remedy}")


def _naming(settings: Settings, name: str) -> Iterator[tuple[str, str]]:
    """Where the configuration names a device, and how."""
    for service in settings.plan.services:
        selectors = [str(selector) for selector in service.selectors if selector.device == name]
        if selectors:
            yield f"service {service.name}", f"follows {', '.join(selectors)}"
    for window in settings.plan.windows:
        if name in window.devices or any(selector.device == name for selector in window.sessions):
            yield f"window {window.name}", f"is of {name}"


def _check_room(settings: Settings) -> None:
    if sum(target.origin == "api" for target in settings.targets) >= MOST_DEVICES:
        raise ConflictError(f"{MOST_DEVICES} devices were added over HTTP: no more fit; remove some, or use the file")


def _unmasked(name: str, written: Written, kept: Written) -> dict[str, Any]:
    """What was written, with the secrets that are kept where stars stand for them, and without what says nothing.

    Raises SettingsError where stars stand for nothing.
    """
    found = {key: value for key, value in written.items() if value is not None}
    missing = [key for key in _SECRETS if found.get(key) == KEPT_SECRET and key not in kept]
    found |= {key: kept[key] for key in _SECRETS if found.get(key) == KEPT_SECRET and key in kept}
    table, before = found.get(_SECRET_TABLE), kept.get(_SECRET_TABLE, {})
    if isinstance(table, dict):
        stars = [context for context, secret in table.items() if secret == KEPT_SECRET]
        missing += [f"{_SECRET_TABLE}.{context}" for context in stars if context not in before]
        found[_SECRET_TABLE] = table | {context: before[context] for context in stars if context in before}
    if missing:
        text = (
            "*** stands for the secret that is kept, and the device has none of its own: send it, or leave the key out"
        )
        raise SettingsError([ConfigError(f"{added_place(name)}.{key}", text) for key in missing])
    return found


def _differing(before: Written, after: Written) -> list[str]:
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def refuse_withdraws(name: str, preview: Preview, usual: Preview) -> None:
    """Raises ConflictError where a change withdraws what is announced now, other than what is withdrawn anyway."""
    anyway = {(each.service, each.route.key) for each in usual.commands if isinstance(each, Withdraw)}
    gone = [
        (each.service, each.route.key) for each in withdraws(preview) if (each.service, each.route.key) not in anyway
    ]
    if gone:
        told = ", ".join(f"{key} of {service}" for service, key in gone[:NAMED])
        raise ConflictError(
            f"without the sessions of {name} as they are, {told} would be withdrawn: drain or override the service "
            "first, or say force=true",
            tuple((f"service {service}", f"would withdraw {key}") for service, key in gone[:NAMED]),
        )


def withdraws(preview: Preview) -> Sequence[Withdraw]:
    """The withdraws that nothing is announced after."""
    announced = {each.route.key for each in preview.commands if not isinstance(each, Withdraw)}
    return [each for each in preview.commands if isinstance(each, Withdraw) and each.route.key not in announced]
