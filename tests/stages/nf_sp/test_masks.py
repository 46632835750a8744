"""Channel masks."""

from __future__ import annotations

import numpy as np

from stages.nf_sp import deconvolution, masks


def test_bad_channels_and_missing_ticks_are_in_the_mask_and_without_charge() -> None:
    on = deconvolution.grid(1000, 512.0)
    channels = np.array([100, 101, 102], np.int32)
    usable = np.array([True, False, True])
    missing = np.zeros((3, 1000), bool)
    missing[0, 125:250] = missing[2, 900:] = missing[1, 5:10] = True
    mask = masks.channel_mask(channels, usable, missing, on)
    assert mask.tolist() == [[100, 128, 256], [101, 0, 1024], [102, 921, 1024]]
    electrons = np.ones((3, on.n_out), np.float32)
    masks.blank(electrons, missing, on)
    assert not electrons[0, 128:256].any()
    assert electrons[0, :128].all()
    assert electrons[0, 256:].all()
    assert not electrons[2, 922:].any()


def test_without_gaps_only_bad_channels_are_masked() -> None:
    on = deconvolution.grid(1000, 512.0)
    mask = masks.channel_mask(np.array([5, 6], np.int32), np.array([True, False]), None, on)
    assert mask.tolist() == [[6, 0, 1024]]
    assert mask.dtype == np.int32
