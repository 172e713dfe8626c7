"""Settings made into what speaks SNMP."""

from ipaddress import ip_address

from exabgp_bfd import routers
from exabgp_bfd.config import DeviceSettings
from exabgp_bfd.core.credentials import Context, User
from exabgp_bfd.core.model import Secret, State
from exabgp_bfd.sources.snmp.notifications import Hint

USER = User("bfd", "sha256", Secret("an auth key"), "aes128", Secret("a priv key"))


def test_a_device_sends_with_what_it_is_asked_with():
    contexts = (Context(""), Context("red", Secret("red one")))
    device = DeviceSettings("edge1", "edge1.example.net", community=Secret("one"), contexts=contexts)
    sender = routers._sender(device)
    assert sender.communities == (Secret("one"), Secret("red one"))
    assert (sender.addresses, sender.user, sender.trust) == (("edge1.example.net",), None, False)


def test_a_device_of_version_3_has_no_community():
    source = ip_address("198.51.100.1")
    device = DeviceSettings("edge1", "192.0.2.1", version="3", user=USER, trap_from=(source,), trust=True)
    sender = routers._sender(device)
    assert sender.communities == ()
    assert sender.addresses == ("192.0.2.1", "198.51.100.1")
    assert sender.user is not None
    assert (sender.user.name, sender.user.auth_key, sender.trust) == ("bfd", Secret("an auth key"), True)


def test_all_of_a_device_s_settings_reach_the_poller():
    device = DeviceSettings(
        "edge1",
        "192.0.2.1",
        port=1161,
        version="3",
        user=USER,
        contexts=(Context("red"),),
        max_varbinds=7,
        interval=2.0,
        fast_interval=0.5,
        timeout=0.3,
        retries=4,
        engine="pysnmp",
        profile="juniper",
    )
    target = routers.target_of(device)
    assert target.at == "192.0.2.1:1161"
    assert (target.version, target.max_varbinds, target.profile, target.engine) == ("3", 7, "juniper", "pysnmp")
    assert (target.interval, target.fast_interval, target.timeout, target.retries) == (2.0, 0.5, 0.3, 4)
    assert target.user is not None
    assert (target.user.priv_protocol, target.user.priv_key) == ("aes128", Secret("a priv key"))
    assert [context.name for context in target.contexts] == ["red"]
    assert "an auth key" not in repr(target)


def test_an_event_tells_what_the_notification_told_and_nothing_else():
    peer = ip_address("192.0.2.9")
    assert routers._told(Hint("bfd-std", State.DOWN, "7", "7")) == {"profile": "bfd-std", "index": "7"}
    wide = Hint("bfd-std", None, "7", "9", peer=peer, details={"vrf": "red"})
    assert routers._told(wide) == {
        "profile": "bfd-std",
        "indexes": ["7", "9"],
        "peer": "192.0.2.9",
        "vrf": "red",
    }
