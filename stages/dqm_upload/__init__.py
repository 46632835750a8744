"""The stage `dqm_upload`: brings the data-quality record and its pictures to where people look at them."""
