"""The engine as a service: its loop, its HTTP interface, and who may call it."""
