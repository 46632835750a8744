"""The charge that two versions made of the same files, compared pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from campaign.ledger.tables import campaign_table
from campaign.ledger.versions import Version
from campaign.versions.outputs import output_files
from campaign.versions.paired import Line, line
from dune_prompt.errors import DataError


def charge_lines(connection: sa.Connection, new: Version, old: Version, dids: Sequence[str], most: int) -> list[Line]:
    """For each plane the correlation of the charge of all pixels, 1 when both versions found the same, and its total.

    At most `most` files are read, the first of `dids` that this machine can read in both versions. What cannot be read or is no frame file
    is left out.
    """
    if most < 1:
        return []
    from stages.evaluate.frame_comparison import compare

    content = connection.execute(sa.select(campaign_table.c.content).where(campaign_table.c.id == new.id)).scalar_one()
    first, second = (dict(output_files(connection, version, dids, "nf_sp", "_gauss.npz")) for version in (old, new))
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    read = 0
    for did in dids:
        if read == most or did not in first or did not in second:
            continue
        try:
            found = compare(first[did], second[did], str(content["detector"]))
        except (OSError, DataError):
            continue
        read += 1
        for plane in ("U", "V", "W"):
            of_plane = [item for item in found.planes if item.plane == plane and item.tag.startswith("gauss")]
            known = [item.correlation for item in of_plane if item.correlation is not None]
            if known:
                pairs.setdefault((f"charge pixel by pixel {plane}", ""), []).append((1.0, min(known)))
                totals = (sum(item.first_charge_e for item in of_plane), sum(item.second_charge_e for item in of_plane))
                pairs.setdefault((f"charge in frames {plane}", "e"), []).append(totals)
    return [line(what, unit, values) for (what, unit), values in pairs.items()]
