"""Observations in: the ways by which the state of BFD sessions is learned."""
