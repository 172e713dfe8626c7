"""Serves BFD-STD-MIB to net-snmp's snmpd (its `pass_persist`), reading a JSON file at each request: nothing is cached.

The file maps OIDs without a leading dot to `[type, value]`, with the types of snmpd.conf(5): integer, gauge, counter,
octet (hexadecimal octets). Runs on any Python 3 by itself, and ends when snmpd closes its input.
"""

import json
import sys


def table(path):
    with open(path, encoding="ascii") as file:  # noqa: PTH123 - started for its speed, with nothing but what it needs
        return json.load(file)


def arcs(oid):
    return tuple(int(arc) for arc in oid.strip(".").split("."))


def answer(values, kind, oid):
    """The three lines for an instance (or the one after it), or NONE."""
    asked = arcs(oid)
    if kind == "get":
        found = oid.strip(".") if oid.strip(".") in values else None
    else:
        found = min((known for known in values if arcs(known) > asked), key=arcs, default=None)
    if found is None:
        return "NONE\n"
    type_, value = values[found]
    return f".{found}\n{type_}\n{value}\n"


def main():
    path = sys.argv[1]
    while line := sys.stdin.readline():
        kind = line.strip()
        if kind == "PING":
            sys.stdout.write("PONG\n")
        elif kind in {"get", "getnext"}:
            sys.stdout.write(answer(table(path), kind, sys.stdin.readline().strip()))
        elif kind == "set":
            sys.stdin.readline()
            sys.stdin.readline()
            sys.stdout.write("not-writable\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
