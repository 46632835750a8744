"""Servers and proxies that tests and benchmarks run against, each a process or thread of its own on 127.0.0.1."""
