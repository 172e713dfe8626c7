"""The peer: pysnmp's own notification receiver, which does nothing with what it gets but count it.

`python -m tests.bench.trap_receiver VERSION ENGINE_ID`: prints its port; for each line of its stdin, how many have
come, when the last one did (perf_counter_ns, the whole machine's clock) and its CPU time. It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from typing import Any

from pysnmp.carrier.asyncio.dgram import udp  # type: ignore[import-untyped]
from pysnmp.entity import config  # type: ignore[import-untyped]
from pysnmp.entity.engine import SnmpEngine  # type: ignore[import-untyped]
from pysnmp.entity.rfc3413 import ntfrcv  # type: ignore[import-untyped]
from pysnmp.proto.api import v2c  # type: ignore[import-untyped]

from tests.bench import snmp_usm
from tests.bench.snmp_agent import CLIENT_CPU, COMMUNITY, pin


async def main(version: str, sender: str) -> None:
    engine = SnmpEngine()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind(("127.0.0.1", 0))
        port = wire.getsockname()[1]
    transport = udp.UdpTransport().open_server_mode(("127.0.0.1", port))
    config.add_transport(engine, udp.DOMAIN_NAME, transport)
    if version == "3":
        # Traps come with the sender's engine id, which this receiver must know beforehand; informs with ours.
        for its in ({"securityEngineId": v2c.OctetString(hexValue=sender)}, {}):
            config.add_v3_user(
                engine,
                snmp_usm.USER,
                config.USM_AUTH_HMAC192_SHA256,
                snmp_usm.AUTH_KEY,
                config.USM_PRIV_CFB128_AES,
                snmp_usm.PRIV_KEY,
                **its,
            )
    else:
        config.add_v1_system(engine, "sender", COMMUNITY)
    got = [0, 0]

    def take(*_: Any) -> None:
        got[0] += 1
        got[1] = time.perf_counter_ns()

    ntfrcv.NotificationReceiver(engine, take)
    await asyncio.sleep(0.2)  # pysnmp opens it in a task of its own
    print(port, flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps({"received": got[0], "last": got[1], "cpu": time.process_time()}), flush=True)
    engine.close_dispatcher()


if __name__ == "__main__":
    pin(CLIENT_CPU)
    asyncio.run(main(*sys.argv[1:]))
