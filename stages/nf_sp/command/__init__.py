"""The payload `command`: any program that keeps a small contract, so that a new one plugs in without a change of this code."""
