# ruff: noqa: E501 - lines as ExaBGP wrote them
"""What ExaBGP 4.2.21, 5.0.15 and 6 write, as captured, and what we say to each, held against ExaBGP 5's own parser."""

from __future__ import annotations

import importlib
import json
from ipaddress import ip_address, ip_network

import pytest

from exabgp_bfd.core.model import (
    Advertised,
    Announce,
    Held,
    Negotiated,
    Neighbor,
    Outcome,
    Peer,
    Route,
    SpeakerError,
    Watchdog,
    Withdraw,
)
from exabgp_bfd.speaker import answers, dialect, messages
from exabgp_bfd.speaker.dialect import Dialect, Speech

# --- captured on the wire: the same neighbours, the same commands, BIRD as the peer (2026-11-21) -----------------------

EVENTS_4 = r"""
{ "exabgp": "4.0.1", "time": 1795247471.2798586, "host" : "vm", "pid" : 17162, "ppid" : 17158, "counter": 1, "type": "state", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 } , "state": "connected" } }
{ "exabgp": "4.0.1", "time": 1795247471.280396, "host" : "vm", "pid" : 17162, "ppid" : 17158, "counter": 2, "type": "open", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 } , "direction": "send", "open": { "version": 4, "asn": 65001, "hold_time": 30, "router_id": "192.0.2.1", "capabilities": { "multiprotocol": { "name": "multiprotocol", "families": [ "ipv4/unicast", "ipv6/unicast" ] }, "asn4": { "name": "asn4", "asn4": 65001 }, "graceful-restart": { "name": "graceful restart", "time": 60, "address-family-flags": { "ipv4/unicast": [ "restart" ] , "ipv6/unicast": [ "restart" ] }, "restart-flags": [ "forwarding" ] }, "extended-message": { "name": "extended-message", "size": 65535 } } } } }
{ "exabgp": "4.0.1", "time": 1795247471.281707, "host" : "vm", "pid" : 17162, "ppid" : 17158, "counter": 3, "type": "open", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 } , "direction": "receive", "open": { "version": 4, "asn": 65002, "hold_time": 240, "router_id": "192.0.2.2", "capabilities": { "1": { "name": "multiprotocol", "families": [ "ipv4/unicast", "ipv6/unicast" ] }, "2": { "name": "route-refresh", "variant": "RFC" }, "64": { "name": "graceful restart", "time": 120, "address-family-flags": { }, "restart-flags": [ ] }, "65": { "name": "asn4", "asn4": 65002 }, "70": { "name": "enhanced-route-refresh" }, "71": { "name": "unknown", "iana": "unassigned", "value": 71, "raw": "" } } } } }
{ "exabgp": "4.0.1", "time": 1795247471.2819195, "host" : "vm", "pid" : 17162, "ppid" : 17158, "counter": 4, "type": "negotiated", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 } , "negotiated": { "message_size": 4096, "hold_time": 30, "asn4": true, "multisession": false, "operational": false, "refresh": "absent", "families": [ "ipv4 unicast" ,"ipv6 unicast" ], "nexthop": [  ], "add_path": { "send": [  ], "receive": [  ] } }  } }
{ "exabgp": "4.0.1", "time": 1795247471.3052766, "host" : "vm", "pid" : 17162, "ppid" : 17158, "counter": 5, "type": "state", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 } , "state": "up" } }
{ "exabgp": "4.0.1", "time": 1795247471.305661, "host" : "vm", "pid" : 17162, "ppid" : 17158, "counter": 6, "type": "update", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 } , "direction": "send", "message": { "eor": { "afi" : "ipv4", "safi" : "unicast" } }, "negotiated": { "message_size": 4096, "hold_time": 30, "asn4": true, "multisession": false, "operational": false, "refresh": "absent", "families": [ "ipv4 unicast" ,"ipv6 unicast" ], "nexthop": [  ], "add_path": { "send": [  ], "receive": [  ] } }  } }
{ "exabgp": "4.0.1", "time": 1795247471.32486, "host" : "vm", "pid" : 17162, "ppid" : 17158, "counter": 8, "type": "update", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 } , "direction": "receive", "message": { "eor": { "afi" : "ipv4", "safi" : "unicast" } }, "negotiated": { "message_size": 4096, "hold_time": 30, "asn4": true, "multisession": false, "operational": false, "refresh": "absent", "families": [ "ipv4 unicast" ,"ipv6 unicast" ], "nexthop": [  ], "add_path": { "send": [  ], "receive": [  ] } }  } }
{ "exabgp": "4.0.1", "time": 1795247513.7935576, "host" : "vm", "pid" : 17162, "ppid" : 17158, "counter": 10, "type": "update", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 } , "direction": "send", "message": { "update": { "attribute": { "origin": "igp", "as-path": [ 65001, 65001 ], "confederation-path": [], "med": 20, "community": [ [ 65000, 1 ], [ 65535, 65281 ] ], "extended-community": [ { "value": 562954248388610, "string": "target:1:2" }, { "value": 1055531196284933, "string": "origin:49152:2.1.0.5" }, { "value": 842122827661313, "string": "target:65000:1" } ], "large-community": [ [ 1, 2 , 3 ] ] }, "announce": { "ipv4 unicast": { "192.0.2.3": [ { "nlri": "192.0.2.10/32" } ] } } } }, "negotiated": { "message_size": 4096, "hold_time": 30, "asn4": true, "multisession": false, "operational": false, "refresh": "absent", "families": [ "ipv4 unicast" ,"ipv6 unicast" ], "nexthop": [  ], "add_path": { "send": [  ], "receive": [  ] } }  } }
{ "exabgp": "4.0.1", "time": 1795248795.1418428, "host" : "vm", "pid" : 17162, "ppid" : 17158, "counter": 52, "type": "update", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 } , "direction": "send", "message": { "update": { "withdraw": { "ipv4 unicast": [ { "nlri": "192.0.2.77/32" } ] } } }, "negotiated": { "message_size": 4096, "hold_time": 30, "asn4": true, "multisession": false, "operational": false, "refresh": "absent", "families": [ "ipv4 unicast" ,"ipv6 unicast" ], "nexthop": [  ], "add_path": { "send": [  ], "receive": [  ] } }  } }
{ "exabgp": "4.0.1", "time": 1795247548.612028, "host" : "vm", "pid" : 17162, "ppid" : 17158, "counter": 12, "type": "state", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 } , "state": "down", "reason": "peer reset, message (notification sent (3,0)) error(UPDATE message error / Unspecific / invalid ipv6 unicast next-hop length 4 expected 16 or 32)" } }
"""

NEIGHBORS_4 = r"""
neighbor 127.0.0.1 {
  description "a ";
  router-id 192.0.2.1;
  host-name vm;
  domain-name localhost;
  local-address 127.0.0.1;
  local-as 65001;
  peer-as 65002;
  hold-time 30;
  rate-limit disable;
  manual-eor false;

  passive false;

  connect 53529;
  group-updates true;
  auto-flush true;
  adj-rib-in true;
  adj-rib-out true;
  md5-base64 auto;
  md5-ip "127.0.0.1";

  capability {
    asn4 enable;
    route-refresh disable;
    graceful-restart 60;
    nexthop disable;
    add-path disable;
    multi-session disable;
    operational disable;
    aigp disable;
  }
  family {
    ipv4 unicast;
    ipv6 unicast;
  }
  nexthop {
  }
  add-path {
  }
  api {
    processes [ bfd ];
    neighbor-changes;
    negotiated;
    receive {
      parsed;
      notification;
      open;
      update;
      refresh;
    }
    send {
      parsed;
      open;
      update;
      refresh;
    }
  }
}
neighbor ::1 {
  description "";
  router-id 192.0.2.1;
  host-name vm;
  domain-name localhost;
  local-address ::1;
  local-as 65001;
  peer-as 65010;
  hold-time 30;
  rate-limit disable;
  manual-eor false;

  passive false;

  connect 9;
  group-updates true;
  auto-flush true;
  adj-rib-in true;
  adj-rib-out true;
  md5-base64 auto;
  md5-ip "::1";

  capability {
    asn4 enable;
    route-refresh disable;
    graceful-restart disable;
    nexthop disable;
    add-path disable;
    multi-session disable;
    operational disable;
    aigp disable;
  }
  family {
    ipv4 unicast;
    ipv6 unicast;
  }
  nexthop {
  }
  add-path {
  }
  api {
    processes [ bfd ];
  }
}
neighbor 2001:DB8:0::7 {
  description "";
  router-id 192.0.2.1;
  host-name vm;
  domain-name localhost;
  local-address 2001:DB8:0::8;
  local-as 65001;
  peer-as 65010;
  hold-time 30;
  rate-limit disable;
  manual-eor false;

  passive false;

  connect 9;
  group-updates true;
  auto-flush true;
  adj-rib-in true;
  adj-rib-out true;
  md5-base64 auto;
  md5-ip "2001:DB8:0::8";

  capability {
    asn4 enable;
    route-refresh disable;
    graceful-restart disable;
    nexthop disable;
    add-path disable;
    multi-session disable;
    operational disable;
    aigp disable;
  }
  family {
    ipv6 unicast;
  }
  nexthop {
  }
  add-path {
  }
  api {
    processes [ bfd ];
  }
  api {
    processes [ other ];
    send {
      parsed;
      update;
    }
  }
}
"""

ROUTES_4 = r"""
neighbor 127.0.0.1 local-ip 127.0.0.1 local-as 65001 peer-as 65002 router-id 192.0.2.1 family-allowed in-open ipv4 unicast 192.0.2.10/32 next-hop 192.0.2.3 as-path [ 65001 65001 ] med 20 local-preference 5 community [ 65000:1 no-export ] extended-community [ target:1:2 target:65000:1 origin:49152:2.1.0.5 ] large-community 1:2:3
neighbor 127.0.0.8 local-ip 127.0.0.1 local-as 65001 peer-as 65009 router-id 192.0.2.1 family-allowed in-open ipv4 unicast 192.0.2.8/32 next-hop self
neighbor 2001:DB8:0::7 local-ip 2001:DB8:0::8 local-as 65001 peer-as 65010 router-id 192.0.2.1 family-allowed in-open ipv6 unicast 2001:db8:2::/48 next-hop 2001:db8::9
neighbor 127.0.0.1 local-ip 127.0.0.1 local-as 65001 peer-as 65002 router-id 192.0.2.1 family-allowed in-open ipv4 unicast 192.0.2.78/32 next-hop 192.0.2.3 as-path [ 65001 ] med 0 community [ 65535:0 blackhole no-peer ] large-community [ 1:2:3 4:5:6 ]
neighbor 127.0.0.1 local-ip 127.0.0.1 local-as 65001 peer-as 65002 router-id 192.0.2.1 family-allowed in-open ipv4 unicast 192.0.2.77/32 next-hop 192.0.2.3 community 65000:1
"""

EVENTS_5 = r"""
{ "exabgp": "5.0.0", "time": 1795246731.1994944, "host" : "vm", "pid" : 4989, "ppid" : 4982, "counter": 1, "type": "state", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 }, "router-id": "192.0.2.1" , "state": "connected" } }
{ "exabgp": "5.0.0", "time": 1795246731.2000196, "host" : "vm", "pid" : 4989, "ppid" : 4982, "counter": 2, "type": "open", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 }, "router-id": "192.0.2.1" , "direction": "send", "open": { "version": 4, "asn": 65001, "hold_time": 30, "router_id": "192.0.2.1", "capabilities": { "multiprotocol": { "name": "multiprotocol", "families": [ "ipv4/unicast", "ipv6/unicast" ] }, "asn4": { "name": "asn4", "asn4": 65001 }, "graceful-restart": { "name": "graceful restart", "time": 60, "address-family-flags": { "ipv4/unicast": [ "restart" ] , "ipv6/unicast": [ "restart" ] }, "restart-flags": [ "forwarding" ]  }, "extended-message": { "name": "extended-message", "size": 65535 }, "hostname": { "host-name": null, "domain-name": null } } } } }
{ "exabgp": "5.0.0", "time": 1795246731.2061195, "host" : "vm", "pid" : 4989, "ppid" : 4982, "counter": 3, "type": "open", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 }, "router-id": "192.0.2.1" , "direction": "receive", "open": { "version": 4, "asn": 65002, "hold_time": 240, "router_id": "192.0.2.2", "capabilities": { "1": { "name": "multiprotocol", "families": [ "ipv4/unicast", "ipv6/unicast" ] }, "2": { "name": "route-refresh", "variant": "RFC" }, "64": { "name": "graceful restart", "time": 120, "address-family-flags": { }, "restart-flags": [ ]  }, "65": { "name": "asn4", "asn4": 65002 }, "70": { "name": "enhanced-route-refresh" }, "71": { "name": "unknown", "iana": "unassigned", "value": 71, "raw": "" } } } } }
{ "exabgp": "5.0.0", "time": 1795246731.2063859, "host" : "vm", "pid" : 4989, "ppid" : 4982, "counter": 4, "type": "negotiated", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 }, "router-id": "192.0.2.1" , "negotiated": { "message_size": 4096, "hold_time": 30, "asn4": true, "multisession": false, "operational": false, "refresh": "absent", "families": ["ipv4 unicast", "ipv6 unicast"], "nexthop": [], "add_path": {"send": [], "receive": []} }  } }
{ "exabgp": "5.0.0", "time": 1795246731.2131312, "host" : "vm", "pid" : 4989, "ppid" : 4982, "counter": 5, "type": "state", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 }, "router-id": "192.0.2.1" , "state": "up" } }
{ "exabgp": "5.0.0", "time": 1795246731.2135022, "host" : "vm", "pid" : 4989, "ppid" : 4982, "counter": 6, "type": "update", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 }, "router-id": "192.0.2.1" , "direction": "send", "message": { "eor": { "afi" : "ipv4", "safi" : "unicast" } }, "negotiated": { "message_size": 4096, "hold_time": 30, "asn4": true, "multisession": false, "operational": false, "refresh": "absent", "families": ["ipv4 unicast", "ipv6 unicast"], "nexthop": [], "add_path": {"send": [], "receive": []} }  } }
{ "exabgp": "5.0.0", "time": 1795246731.2487614, "host" : "vm", "pid" : 4989, "ppid" : 4982, "counter": 8, "type": "update", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 }, "router-id": "192.0.2.1" , "direction": "receive", "message": { "eor": { "afi" : "ipv4", "safi" : "unicast" } }, "negotiated": { "message_size": 4096, "hold_time": 30, "asn4": true, "multisession": false, "operational": false, "refresh": "absent", "families": ["ipv4 unicast", "ipv6 unicast"], "nexthop": [], "add_path": {"send": [], "receive": []} }  } }
{ "exabgp": "5.0.0", "time": 1795247522.0247831, "host" : "vm", "pid" : 4989, "ppid" : 4982, "counter": 10, "type": "update", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 }, "router-id": "192.0.2.1" , "direction": "send", "message": { "update": { "attribute": { "origin": "igp", "as-path": {"0": {"element": "as-sequence", "value": [65001, 65001]}}, "med": 20, "community": [ [ 65000, 1 ], [ 65535, 65281 ] ], "extended-community": [ { "value": 562954248388610, "string": "target:1:2" }, { "value": 842122827661313, "string": "target:65000:1" }, { "value": 73113125234212869, "string": "origin:5:192.0.2.1" } ], "large-community": [ [ 1, 2 , 3 ] ] }, "announce": { "ipv4 unicast": { "192.0.2.3": [ { "nlri": "192.0.2.10/32" } ] } } } }, "negotiated": { "message_size": 4096, "hold_time": 30, "asn4": true, "multisession": false, "operational": false, "refresh": "absent", "families": ["ipv4 unicast", "ipv6 unicast"], "nexthop": [], "add_path": {"send": [], "receive": []} }  } }
{ "exabgp": "5.0.0", "time": 1795248794.3294277, "host" : "vm", "pid" : 4989, "ppid" : 4982, "counter": 53, "type": "update", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 }, "router-id": "192.0.2.1" , "direction": "send", "message": { "update": { "withdraw": { "ipv4 unicast": [ { "nlri": "192.0.2.77/32" } ] } } }, "negotiated": { "message_size": 4096, "hold_time": 30, "asn4": true, "multisession": false, "operational": false, "refresh": "absent", "families": ["ipv4 unicast", "ipv6 unicast"], "nexthop": [], "add_path": {"send": [], "receive": []} }  } }
{ "exabgp": "5.0.0", "time": 1795247559.186029, "host" : "vm", "pid" : 4989, "ppid" : 4982, "counter": 12, "type": "state", "neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.1" }, "asn": { "local": 65001, "peer": 65002 }, "router-id": "192.0.2.1" , "state": "down", "reason": "notification sent (3,9)" } }
"""

NEIGHBORS_5 = r"""
neighbor 127.0.0.1 {
  description "a ";
  router-id 192.0.2.1;
  host-name None;
  domain-name None;
  local-address 127.0.0.1;
  source-interface None;
  local-as 65001;
  peer-as 65002;
  hold-time 30;
  rate-limit disable;
  manual-eor false;

  passive false;

  connect 55805;
  group-updates true;
  auto-flush true;
  adj-rib-in true;
  adj-rib-out true;
  md5-base64 false;
  md5-ip "127.0.0.1";
  capability {
    asn4 enable;
    route-refresh disable;
    graceful-restart 60;
    software-version disable;
    nexthop disable;
    add-path disable;
    multi-session disable;
    operational disable;
    aigp disable;
  }
  family {
    ipv4 unicast;
    ipv6 unicast;
  }
  nexthop {
  }
  add-path {
  }
  api {
    processes [ bfd ];
    neighbor-changes;
    negotiated;
    receive {
      parsed;
      notification;
      open;
      update;
      refresh;
    }
    send {
      parsed;
      open;
      update;
      refresh;
    }
  }
}
neighbor ::1 {
  description "";
  router-id 192.0.2.1;
  host-name None;
  domain-name None;
  local-address ::1;
  source-interface None;
  local-as 65001;
  peer-as 65010;
  hold-time 30;
  rate-limit disable;
  manual-eor false;

  passive false;

  connect 9;
  group-updates true;
  auto-flush true;
  adj-rib-in true;
  adj-rib-out true;
  md5-base64 false;
  md5-ip "::1";
  capability {
    asn4 enable;
    route-refresh disable;
    graceful-restart disable;
    software-version disable;
    nexthop disable;
    add-path disable;
    multi-session disable;
    operational disable;
    aigp disable;
  }
  family {
    ipv4 unicast;
    ipv6 unicast;
  }
  nexthop {
  }
  add-path {
  }
  api {
    processes [ bfd ];
  }
}
neighbor 2001:DB8:0::7 {
  description "";
  router-id 192.0.2.1;
  host-name None;
  domain-name None;
  local-address 2001:DB8:0::8;
  source-interface None;
  local-as 65001;
  peer-as 65010;
  hold-time 30;
  rate-limit disable;
  manual-eor false;

  passive false;

  connect 9;
  group-updates true;
  auto-flush true;
  adj-rib-in true;
  adj-rib-out true;
  md5-base64 false;
  md5-ip "2001:DB8:0::8";
  capability {
    asn4 enable;
    route-refresh disable;
    graceful-restart disable;
    software-version disable;
    nexthop disable;
    add-path disable;
    multi-session disable;
    operational disable;
    aigp disable;
  }
  family {
    ipv6 unicast;
  }
  nexthop {
  }
  add-path {
  }
  api {
    processes [ bfd ];
  }
  api {
    processes [ other ];
    send {
      parsed;
      update;
    }
  }
}
"""

ROUTES_5 = r"""
neighbor 127.0.0.1 local-ip 127.0.0.1 local-as 65001 peer-as 65002 router-id 192.0.2.1 family-allowed in-open ipv4 unicast 192.0.2.10/32 next-hop 192.0.2.3 as-path ( 65001 65001 ) med 20 local-preference 5 community [ 65000:1 no-export ] extended-community [ target:1:2 target:65000:1 origin:5:192.0.2.1 ] large-community 1:2:3
neighbor 127.0.0.8 local-ip 127.0.0.1 local-as 65001 peer-as 65009 router-id 192.0.2.1 family-allowed in-open ipv4 unicast 192.0.2.8/32 next-hop 127.0.0.1
neighbor 2001:DB8:0::7 local-ip 2001:DB8:0::8 local-as 65001 peer-as 65010 router-id 192.0.2.1 family-allowed in-open ipv6 unicast 2001:db8:2::/48 next-hop 2001:db8::9
neighbor 127.0.0.1 local-ip 127.0.0.1 local-as 65001 peer-as 65002 router-id 192.0.2.1 family-allowed in-open ipv4 unicast 192.0.2.78/32 next-hop 192.0.2.3 as-path ( 65001 ) med 0 community [ 65535:0 blackhole no-peer ] large-community [ 1:2:3 4:5:6 ]
neighbor 127.0.0.1 local-ip 127.0.0.1 local-as 65001 peer-as 65002 router-id 192.0.2.1 family-allowed in-open ipv4 unicast 192.0.2.77/32 next-hop 192.0.2.3 community 65000:1
"""

# --- 6, not released: lines of its own tests (tests/unit of ExaBGP's main, 2026) and of its response/json.py ------------

VERSION_6 = '{"version": "6.0.0", "application": "exabgp"}'
LIST_6 = '[{"peer-address": "127.0.0.1", "peer-as": 65001, "state": "IDLE"}, {"peer-address": "127.0.0.2", "peer-as": 65002, "state": "ESTABLISHED"}, {"peer-address": "127.0.0.3", "peer-as": 65003, "state": null}]'
SHOW_6 = (
    '[{"state": "down", "duration": 0, "fsm": "IDLE", "local": {"capabilities": {"asn4": true, "route-refresh": false, "graceful-restart": true}, "families": {"ipv4 unicast": true, "ipv4 flow": true, "l2vpn vpls": true}, "add-path": {"ipv4 unicast": false}, "address": "127.0.0.100", "as": 65000, "id": "10.0.0.1", "hold": 180}, "peer": {"capabilities": {"asn4": null}, "families": {"ipv4 unicast": null}, "add-path": {}, "address": "127.0.0.1", "as": 65001, "id": null, "hold": null}, "messages": {"sent": {}, "received": {}}, "capabilities": [], "families": [], "add-path": {"ipv4 unicast": "disabled"}},'
    ' {"peer-address": "127.0.0.2", "local-address": "127.0.0.100", "peer-as": 65002, "local-as": 65000}]'
)
ROUTES_6 = """
{"127.0.0.1": {"routes": [{"family": "ipv4 unicast", "prefix": "10.0.0.0/24"}]}}
{"127.0.0.1": {"routes": [{"family": "ipv4 flow", "nlri": "flow destination-ipv4 10.0.0.0/24"}]}}
{"127.0.0.1": {"routes": [{"family": "l2vpn vpls", "nlri": "vpls rd 1:1 endpoint 10 base 203 offset 20 size 8"}]}}
{"127.0.0.2": {"routes": [{"prefix": "10.0.0.0/24", "family": "ipv4 unicast"}]}}
"""
# To a process that it takes for one of version 4, 6 answers in words.
ROUTES_6_IN_WORDS = """
neighbor 127.0.0.2 local-ip 127.0.0.100 local-as 65000 peer-as 65002 router-id 10.0.0.1 family-allowed in-open ipv4 unicast 10.0.0.0/24 next-hop 1.2.3.4 med 5
127.0.0.1 ipv4 unicast 10.0.0.0/24
127.0.0.1 ipv4 flow flow destination-ipv4 10.0.0.0/24
127.0.0.1 l2vpn vpls vpls rd 1:1 endpoint 10 base 203 offset 20 size 8
"""
HEAD_6 = '{ "exabgp": "6.0.0", "time": 1795247471.27, "host" : "vm", "pid" : 17162, "ppid" : 17158, "counter": 1, '
NEIGHBOR_6 = (
    '"neighbor": { "address": { "local": "127.0.0.1", "peer": "127.0.0.2" }, "asn": { "local": 65001, "peer": 65002 } '
)
EVENTS_6 = "\n".join(
    HEAD_6 + event
    for event in (
        f'"type": "state", {NEIGHBOR_6}, "state": "connected" }} }}',
        f'"type": "negotiated", {NEIGHBOR_6}, "negotiated": {{ "message_size": 65535, "hold_time": 180, "asn4": true, "multisession": false, "operational": false, "refresh": "absent", "families": [ ipv4 unicast ,ipv6 unicast ], "nexthop": [  ], "add_path": {{ "send": [  ], "receive": [  ] }} }}  }} }}',
        f'"type": "state", {NEIGHBOR_6}, "state": "up" }} }}',
        f'"type": "update", {NEIGHBOR_6}, "direction": "receive", "message": {{ "update": {{ "announce": {{ "ipv4 unicast": {{ "null": [ "eor": {{ "afi" : "ipv4", "safi" : "unicast" }} ] }} }} }} }} }} }}',
        f'"type": "update", {NEIGHBOR_6}, "direction": "send", "message": {{ "update": {{ "attribute": {{ "origin": "igp" }}, "announce": {{ "ipv4 unicast": {{ "10.0.0.1": [ {{ "nlri": "192.168.0.1/32" }} ] }} }} }} }} }} }}',
        f'"type": "update", {NEIGHBOR_6}, "direction": "send", "message": {{ "update": {{ "withdraw": {{ "ipv4 unicast": [ {{ "nlri": "192.168.0.1/32" }} ] }} }} }} }} }}',
        f'"type": "state", {NEIGHBOR_6}, "state": "down", "reason": "notification received (6,3)" }} }}',
    )
)

PEER, V6_SESSION, SPELLED = ip_address("127.0.0.1"), ip_address("::1"), ip_address("2001:db8::7")
BOTH = frozenset({"ipv4 unicast", "ipv6 unicast"})
CAPTURED = {
    "4.2.21": (EVENTS_4, NEIGHBORS_4, ROUTES_4, Dialect.V4),
    "5.0.15": (EVENTS_5, NEIGHBORS_5, ROUTES_5, Dialect.V5),
}


def lines(text: str) -> list[str]:
    return text.strip("\n").split("\n")


def parsed(text: str) -> list[messages.Line]:
    return [messages.parse(line.encode()) for line in lines(text)]


def told(text: str) -> list[object]:
    """What the events tell the core, in their order."""
    handshakes = messages.Handshakes()
    found: list[object] = []
    for message in parsed(text):
        assert isinstance(message, messages.Message)
        found += [
            *messages.advertised(message),
            *filter(None, (messages.neighbor_state(message), messages.negotiated(message), handshakes.take(message))),
        ]
    return found


@pytest.mark.parametrize("version", CAPTURED)
def test_what_the_events_tell(version):
    events, _, _, _ = CAPTURED[version]
    *found, down = told(events)
    assert found == [
        Neighbor(PEER, "connected"),
        Negotiated(PEER, BOTH, graceful_restart=True),
        Negotiated(PEER, BOTH),
        Neighbor(PEER, "up"),
        Advertised(PEER, ip_network("192.0.2.10/32"), announced=True),
        Advertised(PEER, down_prefix(events), announced=False),
    ]
    assert isinstance(down, Neighbor)
    assert (down.state, bool(down.reason)) == ("down", True)


def down_prefix(events: str) -> object:
    """The prefix of the withdraw among the events."""
    message = next(json.loads(line) for line in lines(events) if '"withdraw"' in line)
    return ip_network(message["neighbor"]["message"]["update"]["withdraw"]["ipv4 unicast"][0]["nlri"])


def test_what_the_events_of_6_tell_its_broken_ones_repaired():
    host, peer = ip_network("192.168.0.1/32"), ip_address("127.0.0.2")
    assert told(EVENTS_6) == [
        Neighbor(peer, "connected"),
        Negotiated(peer, BOTH),
        Neighbor(peer, "up"),
        Advertised(peer, host, announced=True),
        Advertised(peer, host, announced=False),
        Neighbor(peer, "down", "notification received (6,3)"),
    ]
    assert [message.repaired for message in parsed(EVENTS_6) if isinstance(message, messages.Message)] == [
        "",
        "families without quotes",
        "",
        "end of RIB in a list",
        "",
        "",
        "",
    ]


@pytest.mark.parametrize("events", [EVENTS_5, EVENTS_6])
def test_the_version_in_an_event_changes_nothing(events):
    """6 says "4.0.1" to a process of version 4, and writes as 5 and 6 do."""
    for version in ("4.0.1", "5.0.0", "6.0.0"):
        assert told(events.replace("5.0.0", version).replace("6.0.0", version)) == told(events)


@pytest.mark.parametrize("version", [*CAPTURED, "6"])
def test_a_whole_answer_line_by_line(version):
    """Nothing of it is taken for an event or for the end of another answer."""
    body = lines(NEIGHBORS_5 + ROUTES_5) if version == "6" else lines("".join(CAPTURED[version][1:3]))
    body += [VERSION_6, LIST_6, SHOW_6, *lines(ROUTES_6)]
    for line in body:
        assert messages.parse(line.encode()) == messages.Body(line.strip())
        assert not messages.ends_answer(line.encode())
        assert not messages.is_event(line.encode())
    assert messages.parse(b"done") == messages.Ended(Outcome.DONE)
    # 6 explains itself, and then answers.
    assert messages.parse(b"error: no selected peer carries ipv6 unicast") == messages.Body(
        "error: no selected peer carries ipv6 unicast"
    )
    assert messages.parse(b"error") == messages.Ended(Outcome.ERROR)


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", CAPTURED)
def test_what_each_says_of_itself_and_its_neighbours(version):
    _, neighbors, _, which = CAPTURED[version]
    assert answers.version([f"exabgp {version}"]) == (which, version)
    found = answers.peers(lines(neighbors))
    assert found.peers == (
        Peer(PEER, PEER, BOTH, graceful_restart=True, resends=True, tells=True),
        Peer(V6_SESSION, V6_SESSION, BOTH),
        Peer(SPELLED, ip_address("2001:db8::8"), frozenset({"ipv6 unicast"})),
    )
    assert found.spelled == ((SPELLED, "2001:DB8:0::7"),)
    assert (found.processes, found.ranges, found.unread) == ({"bfd", "other"}, (), 0)


@pytest.mark.parametrize("version", CAPTURED)
def test_which_routes_each_holds(version):
    _, _, routes, which = CAPTURED[version]
    found = answers.rib(lines(routes))
    hop, four = ip_address("192.0.2.3"), which is Dialect.V4
    # 4.2.21 says `self` as it was said, 5 what it stands for; 4.2.21 garbles the site of origin.
    own = "self" if four else PEER
    origin = "origin:49152:2.1.0.5" if four else "origin:5:192.0.2.1"
    extended = ("target:1:2", "target:65000:1", origin)
    assert found.held == (
        Held(
            PEER,
            Route(
                ip_network("192.0.2.10/32"),
                hop,
                (),
                20,
                5,
                ("65000:1", "no-export"),
                ("1:2:3",),
                extended,
                (65001, 65001),
            ),
        ),
        Held(ip_address("127.0.0.8"), Route(ip_network("192.0.2.8/32"), own)),
        Held(SPELLED, Route(ip_network("2001:db8:2::/48"), ip_address("2001:db8::9"))),
        Held(
            PEER,
            Route(
                ip_network("192.0.2.78/32"),
                hop,
                med=0,
                communities=("65535:0", "blackhole", "no-peer"),
                large_communities=("1:2:3", "4:5:6"),
                as_path=(65001,),
            ),
        ),
        Held(PEER, Route(ip_network("192.0.2.77/32"), hop, communities=("65000:1",))),
    )
    assert (found.other, found.unread, found.attributes) == (0, 0, True)


def test_what_6_says_in_json():
    assert answers.version([VERSION_6]) == (Dialect.V6, "6.0.0")
    first, second, third = (ip_address(f"127.0.0.{last}") for last in (1, 2, 3))
    assert answers.peers([LIST_6]) == answers.Neighbors((Peer(first), Peer(second), Peer(third)))
    local = ip_address("127.0.0.100")
    families = frozenset({"ipv4 unicast", "ipv4 flow", "l2vpn vpls"})
    assert answers.peers([SHOW_6]).peers == (Peer(first, local, families, graceful_restart=True), Peer(second, local))
    route = Route(ip_network("10.0.0.0/24"))
    assert answers.rib(lines(ROUTES_6)) == answers.Routes(
        (Held(first, route), Held(second, route)), 2, 0, attributes=False
    )


def test_what_6_says_in_words():
    assert answers.version(["exabgp 6.0.0"]) == (Dialect.V5, "6.0.0")
    found = answers.rib(lines(ROUTES_6_IN_WORDS))
    prefix = ip_network("10.0.0.0/24")
    assert found.held == (
        Held(ip_address("127.0.0.2"), Route(prefix, ip_address("1.2.3.4"), med=5)),
        Held(ip_address("127.0.0.1"), Route(prefix)),
    )
    assert (found.other, found.unread) == (2, 0)


# --- commands -------------------------------------------------------------------------------------------------------

FULL = Route(
    ip_network("192.0.2.53/32"),
    ip_address("192.0.2.3"),
    (),
    20,
    5,
    ("65000:1", "no-export", "graceful-shutdown"),
    ("1:2:3",),
    ("target:1:2",),
    (65001, 65001),
)
V6_ROUTE = Route(ip_network("2001:db8:53::/48"), ip_address("2001:db8::3"))
SELF4, SELF6 = Route(ip_network("192.0.2.53/32")), Route(ip_network("2001:db8:53::/48"))


def known(version: str) -> Speech:
    _, neighbors, _, which = CAPTURED[version]
    found = answers.peers(lines(neighbors))
    return Speech(which, found.peers, found.spelled)


TO = {
    # the route -> who gets it, as ExaBGP names them; all: nobody is named
    "all": (FULL, {"127.0.0.1", "::1"}),
    "all of IPv6": (V6_ROUTE, None),
    "self over IPv4": (SELF4, {"127.0.0.1"}),
    "self over IPv6": (SELF6, {"::1", "2001:DB8:0::7"}),
    "chosen": (Route(FULL.prefix, FULL.next_hop, (PEER,)), {"127.0.0.1"}),
    "chosen, spelled otherwise": (
        Route(V6_ROUTE.prefix, V6_ROUTE.next_hop, (SPELLED, PEER)),
        {"2001:DB8:0::7", "127.0.0.1"},
    ),
    "chosen, one without the family": (Route(FULL.prefix, FULL.next_hop, (SPELLED, PEER)), {"127.0.0.1"}),
}


class OwnParser:
    """ExaBGP 5's own reading of a line: which command it takes it for, and for which neighbours."""

    def __init__(self, neighbors: str) -> None:
        limit = importlib.import_module("exabgp.reactor.api.command.limit")
        self._extract, self._match = limit.extract_neighbors, limit.match_neighbors
        self._formated = importlib.import_module("exabgp.configuration.core.format").formated
        # Sorted as it looks for them: the first that stands anywhere in a line is obeyed.
        self._commands = importlib.import_module("exabgp.reactor.api.command").Command.functions
        names = [line.split()[1] for line in lines(neighbors) if line.startswith("neighbor ")]
        self._peers = [
            f"neighbor {name} local-ip x local-as 65001 peer-as 65002 router-id 192.0.2.1 family-allowed in-open"
            for name in names
        ]

    def command(self, line: bytes) -> str:
        text = self._formated(line.decode())
        return next(name for name in self._commands if name == text or text.endswith(f" {name}") or f"{name} " in text)

    def to(self, line: bytes) -> tuple[set[str], str]:
        descriptions, rest = self._extract(self._formated(line.decode()))
        return {name.split()[1] for name in self._match(self._peers, descriptions)}, rest


@pytest.mark.parametrize("case", TO)
@pytest.mark.parametrize("version", CAPTURED)
def test_exabgp_reads_a_line_as_it_is_meant(version, case):
    route, to = TO[case]
    parser = OwnParser(CAPTURED[version][1])
    everybody = {"127.0.0.1", "::1", "2001:DB8:0::7"}
    line = dialect.line(Announce(1, "dns", route), known(version))
    assert parser.command(line) == "announce route"
    names, rest = parser.to(line)
    assert names == (to or everybody)
    assert rest.startswith(f"announce route {route.prefix} next-hop {route.next_hop}")
    line = dialect.line(Withdraw(1, "dns", route), known(version))
    assert parser.command(line) == "withdraw route"
    names, rest = parser.to(line)
    assert names == ({dict(known(version).spelled).get(one, str(one)) for one in route.neighbors} or everybody)
    assert rest == f"withdraw route {route.prefix}"


@pytest.mark.parametrize("version", CAPTURED)
def test_exabgp_reads_everything_else_as_it_is_meant(version):
    parser, speech = OwnParser(CAPTURED[version][1]), known(version)
    for verb, kind in (("announce", Announce), ("withdraw", Withdraw)):
        line = dialect.line(kind(1, "dns", Watchdog("web_1-x")), speech)
        assert parser.command(line) == f"{verb} watchdog"
        assert line.split()[2] == b"web_1-x"
    assert parser.command(dialect.question("version", speech)) == "version"
    assert parser.command(dialect.question("peers", speech)) == "show neighbor"
    for neighbor in (None, PEER, SPELLED):
        assert parser.command(dialect.question("rib", speech, neighbor)) == "show adj-rib out"


def test_who_cannot_be_reached_is_told_why():
    speech = known("5.0.15")
    with pytest.raises(SpeakerError, match="its family ipv4 unicast is not configured"):
        dialect.line(Announce(1, "dns", Route(FULL.prefix, FULL.next_hop, (SPELLED,))), speech)
    with pytest.raises(SpeakerError, match="give next_hop an IPv6 address"):
        dialect.line(Announce(1, "dns", Route(V6_ROUTE.prefix, "self", (PEER,))), speech)


# What ExaBGP's own migration makes of lines of 4 and 5 (its tests/unit, `migrate_api_command(..., '4', 'main')`).
MIGRATED = [
    (
        Announce(1, "", Route(ip_network("10.0.0.0/24"), ip_address("1.2.3.4"))),
        "peer * announce route 10.0.0.0/24 next-hop 1.2.3.4",
    ),
    (Withdraw(1, "", Route(ip_network("10.0.0.0/24"))), "peer * withdraw route 10.0.0.0/24"),
    (
        Announce(1, "", Route(ip_network("10.0.0.0/24"), ip_address("1.2.3.4"), (ip_address("127.0.0.1"),))),
        "peer 127.0.0.1 announce route 10.0.0.0/24 next-hop 1.2.3.4",
    ),
    (
        Withdraw(1, "", Route(ip_network("10.0.0.0/24"), "self", (ip_address("127.0.0.1"), ip_address("127.0.0.2")))),
        "peer [ 127.0.0.1 , 127.0.0.2 ] withdraw route 10.0.0.0/24",
    ),
    (Announce(1, "", Watchdog("dns")), "peer * announce watchdog dns"),
]


@pytest.mark.parametrize(("command", "line"), MIGRATED)
def test_lines_for_6(command, line):
    found = answers.peers([SHOW_6])
    assert dialect.line(command, Speech(Dialect.V6, found.peers, found.spelled)) == f"{line}\n".encode()


def test_each_word_that_6_sets_apart_stands_alone():
    """Its dispatcher splits at spaces only: a bracket or comma that touches a name would be part of it."""
    speech = Speech(Dialect.V6, answers.peers([LIST_6]).peers)
    everyone = tuple(peer.address for peer in speech.peers or ())
    words = dialect.line(Withdraw(1, "", Route(FULL.prefix, "self", everyone)), speech).decode().split()
    end = words.index("]")
    assert words[:2] == ["peer", "["]
    assert words[2:end] == ["127.0.0.1", ",", "127.0.0.2", ",", "127.0.0.3"]
    assert words[end + 1 :] == ["withdraw", "route", "192.0.2.53/32"]
