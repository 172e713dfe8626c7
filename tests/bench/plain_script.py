"""The peer: a script as people write them for ExaBGP, one OID asked with pysnmp's `get_cmd` in a loop.

`python plain_script.py PORT COMMUNITY OID PREFIX INTERVAL`
"""

import asyncio
import sys

from pysnmp.hlapi.v3arch.asyncio import (
    CommunityData,
    ContextData,
    ObjectIdentity,
    ObjectType,
    SnmpEngine,
    UdpTransportTarget,
    get_cmd,
)

UP = 4  # bfdSessState


async def main(port: int, community: str, oid: str, prefix: str, interval: float) -> None:
    engine = SnmpEngine()
    target = await UdpTransportTarget.create(("127.0.0.1", port), timeout=1, retries=1)
    last = None
    while True:
        error, status, _, values = await get_cmd(
            engine, CommunityData(community, mpModel=1), target, ContextData(), ObjectType(ObjectIdentity(oid))
        )
        if not error and not status:
            up = int(values[0][1]) == UP
            if up != last:
                print(f"{'announce' if up else 'withdraw'} route {prefix} next-hop self", flush=True)
            last = up
        await asyncio.sleep(interval)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5])))
