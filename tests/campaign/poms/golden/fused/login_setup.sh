# What POMS runs on dunegpvm16.fnal.gov as dunepro before each launch of pdhd-prompt_v1, in a shell that it has given
# the experiment's credentials and Fermilab's fife-utils (spack). It must put `dune-prompt` on the PATH. From login.setup of the site file.
#
# To try it: log in there as dunepro, source this file, and run the command of a launch_….txt with --dry-run.
# In campaign.ini it stands on one line, with each % doubled, as POMS fills in names there.

source /home/dunepro/prompt/bin/activate; export STARTED="$(date +%FT%T)"
