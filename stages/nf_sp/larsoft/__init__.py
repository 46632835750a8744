"""The payload `larsoft`: the experiment's LArSoft on a raw file, by the files that were rendered for it."""
