"""The data-quality page of a run, for experts: what stands out, every plane, every channel, trends over the files, event displays."""
