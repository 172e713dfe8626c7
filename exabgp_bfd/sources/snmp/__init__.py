"""BFD sessions as routers tell them over SNMP.

`mibs` is pure: vendor tables as data, and the decoding of their rows. `client` asks one device (pysnmp's codec
everywhere, gufo_snmp where it is installed). `poller` asks every device in its own time and hands on what it learns.
"""
