"""The stage `evaluate`: the data-quality record of one raw file, and its event displays."""
