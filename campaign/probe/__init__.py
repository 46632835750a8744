"""The probe: a small known file sent through the whole chain, timed at every hop, its results compared with what is expected.

It answers "how sluggish are grid and data movement today?". It writes the file into the buffer as the data acquisition would, and from
then on only reads: journal, ledger, reports of the jobs and, for the rules, the catalogues.
"""
