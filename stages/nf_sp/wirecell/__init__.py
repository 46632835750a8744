"""The payload `wirecell`: the real Wire-Cell Toolkit on a raw file of ProtoDUNE-HD."""
