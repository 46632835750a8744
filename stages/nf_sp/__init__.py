"""The stage `nf_sp`: noise filtering and signal processing, from ADC samples to electrons on each wire."""
