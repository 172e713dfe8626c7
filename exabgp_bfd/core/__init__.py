"""The decision core: no I/O, no clock, no threads, no logging; inputs and a time in, effects out."""
