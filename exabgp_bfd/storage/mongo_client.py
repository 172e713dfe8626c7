"""A client of MongoDB as each of ours is: made without waiting, bounded in time, silent about what is secret."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from exabgp_bfd.core.model import StoreError
from exabgp_bfd.storage.mongo_address import DATABASE, Address

if TYPE_CHECKING:
    from exabgp_bfd.storage.mongo_schema import Documents

_GOODBYE: Final = 0.2
"""Seconds."""


def connect(address: Address) -> Documents:
    """The database; nothing is sent yet. Raises StoreError, without the URI, where that is not understood.

    Its client belongs to the caller, who closes it. Takes a quarter of a second the first time: not for the loop.
    """
    # Imported here and now, on a thread that has the time.
    from pymongo import MongoClient, WriteConcern  # noqa: PLC0415

    # The driver's debug log would have every document in it. No level of their own, for that of the operator holds.
    for name in ("pymongo", "pymongo.command", "pymongo.connection", "pymongo.serverSelection"):
        logging.getLogger(name).addFilter(_is_not_chatter)
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(
            address.reveal(),
            timeoutMS=address.deadline_ms,
            maxPoolSize=4,
            appname="exabgp-bfd",
            tz_aware=True,
            connect=False,
        )
        # Acknowledged means: on the disks of most. A primary that is killed takes nothing of it along.
        return client.get_default_database(DATABASE, write_concern=WriteConcern(w="majority", j=True))
    except Exception as error:  # noqa: BLE001 - a URI has many faults, each with an error of its own
        # What the driver says here may quote the URI where a password was not escaped.
        raise StoreError(
            f"[storage] mongodb: {address} is not understood ({type(error).__name__}): "
            "escape user and password as in an address (%40 for @), and see the options' names"
        ) from None


def _is_not_chatter(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def close(documents: Documents) -> None:
    """Closes the client; without a bound it would look for a server for half a minute, to say goodbye."""
    import pymongo  # noqa: PLC0415 - see `connect`
    from pymongo.errors import PyMongoError  # noqa: PLC0415

    with suppress(PyMongoError), pymongo.timeout(_GOODBYE):
        documents.client.close()
