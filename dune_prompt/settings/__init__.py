"""Settings: YAML files checked by pydantic models, with errors that name file, line, key and what is allowed."""

from dune_prompt.settings.site import Site, StreamSettings, load_site
from dune_prompt.settings.yaml_file import Strict, load_yaml

__all__ = ["Site", "StreamSettings", "Strict", "load_site", "load_yaml"]
