"""The keys of a declad configuration that have no counterpart here, and why: the whitelist of declad 2.3 (`config.py`)."""

from __future__ import annotations

# Key -> why it is not carried over. The other keys of the whitelist are translated in `declad.py`.
WITHOUT_COUNTERPART = {
    "copy_command_template": "files are copied by the XRootD client itself, with its checksums, when Rucio has `place: true`",
    "create_dirs_command_template": "folders are made by the XRootD client itself",
    "delete_command_template": "nothing is deleted before a copy is verified: see `release` of the streams",
    "download_command_template": "sidecars are read where they are",
    "debug_enabled": "`dune-prompt declare run --verbose` logs more",
    "default_category": "metadata keys without a dot go into the category `core`",
    "graphite.bin": "metrics are served for Prometheus: set `daemon.listen`",
    "graphite.host": "metrics are served for Prometheus: set `daemon.listen`",
    "graphite.interval": "metrics are served for Prometheus: set `daemon.listen`",
    "graphite.namespace": "metrics are served for Prometheus: set `daemon.listen`",
    "graphite.port": "metrics are served for Prometheus: set `daemon.listen`",
    "keep_interval": "the journal keeps every file and every event",
    "log": "logs go to standard error, under systemd to the journal",
    "low_water_mark": "the buffer is listed at every interval, however much is waiting",
    "max_movers": "files are declared in bulk; how many are read or moved at once is not a setting",
    "metacat_dataset": "each raw file goes into the dataset of its run, `<namespace>:<run type>_<run>`; a sidecar's own dataset is kept",
    "metacat_namespace": "the namespace of a raw file is its run type, or what its sidecar says",
    "min_file_size": "size and adler32 must be those of the sidecar; a file that is too short is quarantined by that",
    "quarantine_location": "bad files go into `quarantine` of the workspace or, on another file system, `.quarantine` of the buffer",
    "rel_path_pattern": "Rucio's storage element gives the path of a copy",
    "required_metadata": "the mandatory keys of DUNE's data-management rules are required, always",
    "retry_cooldown": "what is away is tried again after 1 s, then with growing pauses of up to 1 min; nothing is given up",
    "rucio.dataset_did_template": "each raw file goes into the dataset of its run, `<namespace>:<run type>_<run>`",
    "samweb.token": "SAM takes a certificate or proxy; declad's own use of this key never worked",
    "samweb.user": "SAM knows the user by the certificate",
    "scanner.interval": "one listing finds new files, so it can be short: `service.interval`, 1 s by default",
    "scanner.ls_command_template": "folders are listed without a command",
    "scanner.metadata_extractor_log": "no extractor is run: see `sidecar: false` of the streams",
    "scanner.parse_re": "folders are listed without a command whose output would have to be understood",
    "scanner.timeout": "a listing that does not answer is an outage; it is tried again, and an alarm after `daemon.alarm_after`",
    "transfer_timeout": "a copy that is interrupted is made again; there is no limit for one",
    "web_gui.prefix": "a reverse proxy gives the dashboard its path",
    "web_gui.site_title": "the dashboard shows `site`",
}

# Named in declad's documentation, and refused by its own whitelist.
REFUSED_BY_DECLAD = frozenset(
    {"add_sam_locations", "error", "history_db", "lowercase_meta_names", "move_files", "remove_sources", "stagger", "temp_dir"}
)

UNKNOWN = "declad itself does not know this key; a site plug-in may have allowed it"
EMPTY = "it is empty"
