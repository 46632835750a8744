"""The submit file and the script around the payload, as jobsub_lite makes them (its `templates/simple/`): the same lines in the same order,
the same absence of quoting, the same order of things on the worker. Written anew.

Left out: credentials (the test pool has no credential daemon), ifdh and CVMFS (no worker of ours has them).
"""

from __future__ import annotations

from typing import Any

# The script ends at SIGTERM, but a shell looks at its traps only when the command it waits for has ended: the payload runs on.
SCRIPT = """\
#!/bin/bash
#
# made by: {command}

umask 002
unset LC_CTYPE CPATH LIBRARY_PATH
export BEARER_TOKEN_FILE=$PWD/.condor_creds/{credential}.use
{dies}
printed() {{
    exec 1>&7 7>&- 2>&8 8>&-
    cut "$JSB_TMP/JOBSUB_ERR_FILE" 1>&2
    cut "$JSB_TMP/JOBSUB_LOG_FILE"
}}
cut() {{
    most=${{JOBSUB_MAX_JOBLOG_SIZE:-5000000}}
    first=${{JOBSUB_MAX_JOBLOG_HEAD_SIZE:-$((most / 5))}}
    last=${{JOBSUB_MAX_JOBLOG_TAIL_SIZE:-$((most * 4 / 5))}}
    if [ "$(wc -c < "$1")" -gt "$most" ]; then
        head -c "$first" "$1"
        printf '\\njobsub:---- truncated after %s bytes--\\n\\n' "$first"
        printf '\\njobsub:---- resumed for last %s bytes--\\n\\n' "$last"
        tail -c "$last" "$1"
    else
        cat "$1"
    fi
}}
leave() {{
    echo "received signal $1 "
    echo "received signal $1 " 1>&2
    exit 255
}}
trap printed EXIT
for name in TERM ABRT QUIT ALRM INT BUS PIPE; do trap "leave $name" $name; done

touch .empty_file
set - ""
export JSB_TMP=$_CONDOR_SCRATCH_DIR/jsb_tmp
mkdir -p $JSB_TMP
export _CONDOR_SCRATCH_DIR=$_CONDOR_SCRATCH_DIR/no_xfer
export TMP=$_CONDOR_SCRATCH_DIR TEMP=$_CONDOR_SCRATCH_DIR TMPDIR=$_CONDOR_SCRATCH_DIR
mkdir -p $_CONDOR_SCRATCH_DIR
export CONDOR_DIR_INPUT=${{_CONDOR_SCRATCH_DIR}}/${{PROCESS}}/TRANSFERRED_INPUT_FILES
mkdir -p $CONDOR_DIR_INPUT
exec 7>&1 8>&2 >$JSB_TMP/JOBSUB_LOG_FILE 2>$JSB_TMP/JOBSUB_ERR_FILE
export PATH="${{PATH}}:."

{tarballs}
export JOBSUB_EXE_SCRIPT=$(ls {script} 2>/dev/null)
if [ "$JOBSUB_EXE_SCRIPT" = "" ]; then
    export JOBSUB_EXE_SCRIPT=$(find . -name {script} -print | head -1)
fi
chmod +x $JOBSUB_EXE_SCRIPT
export NODE_NAME=`hostname`
echo `date` $JOBSUBJOBID BEGIN EXECUTION $JOBSUB_EXE_SCRIPT {arguments} >&2
echo `date` $JOBSUBJOBID BEGIN EXECUTION $JOBSUB_EXE_SCRIPT {arguments}

{timeout} $JOBSUB_EXE_SCRIPT {arguments}
JOB_RET_STATUS=$?

echo "cvmfs info repo: {group}.opensciencegrid.org not present" >&2
echo `date` $JOBSUB_EXE_SCRIPT COMPLETED with exit status $JOB_RET_STATUS
echo `date` $JOBSUB_EXE_SCRIPT COMPLETED with exit status $JOB_RET_STATUS 1>&2
exit $JOB_RET_STATUS
"""

TARBALL = """\
if test -d {place}; then
    echo "Found file {place} on RCDS.  Setting environment variables and links in job."
    export INPUT_TAR_DIR_LOCAL{number}={place}
    export INPUT_TAR_FILE{number}={place}/{name}.tar
    ln -s {place} ${{CONDOR_DIR_INPUT}}/{name}
else
    echo "Max retries 40 exceeded to find {place}.  Exiting."
    exit 1
fi
"""


def script(values: dict[str, Any]) -> str:
    """The script condor starts. The payload's arguments stand in it as they are."""
    tarballs = "".join(
        TARBALL.format(place=place, name=name, number=f"_{index}" if index else "")
        for index, (place, name) in enumerate(zip(values["tarballs"], values["tarball_names"], strict=True))
    )
    return SCRIPT.format(
        command=values["command"],
        credential=values["credential"],
        dies="exit 3" if values["dies_early"] else "",
        tarballs=tarballs,
        script=values["script"],
        arguments=" ".join(values["arguments"]),
        timeout=f"timeout {values['timeout']}" if values["timeout"] else "",
        group=values["group"],
    )


def submit_file(values: dict[str, Any]) -> str:
    """What condor_submit reads. Environment in the old syntax: joined with semicolons, nothing quoted."""
    v = values
    base = f"{v['script']}{v['datetime']}{v['uuid']}cluster.$(Cluster).$(Process)"
    environment = [
        "CM1=$(CM1)",
        "CM2=$(CM2)",
        "CLUSTER=$(Cluster)",
        "PROCESS=$(Process)",
        "JOBSUBJOBSECTION=$(JOBSUBJOBSECTION)",
        f"CONDOR_TMP={v['outdir']}",
        f"BEARER_TOKEN_FILE=.condor_creds/{v['credential']}.use",
        "CONDOR_EXEC=/tmp",
        "DAGMANJOBID=$(DAGManJobId)",
        f"GRID_USER={v['user']}",
        f"JOBSUBJOBID=$(CLUSTER).$(PROCESS)@{v['schedd']}",
        f"EXPERIMENT={v['group']}",
        "TRACEPARENT=",
        ";".join(v["environment"]),
    ]
    requirements = [
        "target.machine =!= MachineAttrMachine1 && target.machine =!= MachineAttrMachine2",
        "(isUndefined(DesiredOS) || stringListsIntersect(toUpper(DesiredOS),IFOS_installed))",
        "(stringListsIntersect(toUpper(target.HAS_usage_model), toUpper(my.DESIRED_usage_model)))",
    ]
    if v["site"]:
        requirements.append("((isUndefined(target.GLIDEIN_Site) == FALSE) && (stringListIMember(target.GLIDEIN_Site,my.DESIRED_Sites)))")
    if v["blocklist"]:
        requirements.append("((isUndefined(target.GLIDEIN_Site) == FALSE) && (!stringListIMember(target.GLIDEIN_Site,my.Blacklist_Sites)))")
    requirements += v["append_condor_requirements"]
    account = f"group_{v['group']}.{v['subgroup']}.{v['user']}" if v["subgroup"] else f"group_{v['group']}.{v['user']}"
    lines = [
        "universe           = vanilla",
        "executable         = simple.sh",
        f"arguments          = {' '.join(v['arguments'])}",
        f"output             = {base}.out",
        f"error              = {base}.err",
        f"log                = {base}.log",
        "JOBSUBJOBSECTION=$(Process)",
        f"environment        = {';'.join(environment)}",
        "rank               = Mips / 2 + Memory",
        "job_lease_duration = 3600",
        "transfer_output    = True",
        "transfer_error     = True",
        "transfer_executable= True",
        f"transfer_input_files = {v['script']}",
        "transfer_output_files = .empty_file",
        "when_to_transfer_output = ON_EXIT_OR_EVICT",
        f"request_cpus = {v['cpu']}" if v["cpu"] else "",
        f"request_memory = {v['memory']}",
        f"request_disk = {v['disk']}KB",
        f'+DesiredOS="{v["OS"]}"' if v["OS"] else "",
        '+JobsubServerVersion="jobsub_lite-v1.12"',
        '+JobsubClientVersion="jobsub_lite-v1.12"',
        f"+JOB_EXPECTED_MAX_LIFETIME = {v['expected_lifetime']}",
        "notification = Never",
        f'+JobsubCmd = "{v["script"]}"',
        f'+AccountingGroup = "{account}"',
        f'+Jobsub_Group="{v["group"]}"',
        f'+JobsubJobId="$(CLUSTER).$(PROCESS)@{v["schedd"]}"',
        f'+JobsubUUID="{v["uuid"]}"',
        "+Drain = False",
        "+LeaveJobInQueue = False",
        f'+DESIRED_SITES = "{v["site"]}"',
        f'+Blacklist_Sites = "{v["blocklist"]}"' if v["blocklist"] else "",
        f'+DESIRED_usage_model = "{v["usage_model"]}"',
        *v["lines"],
        f"requirements = {' && '.join(requirements)}",
        "" if v["no_singularity"] else f'+SingularityImage="{v["singularity_image"]}"',
        "+SpoolOnEvict = false",
        f"queue {v['N']}",
    ]
    return "\n".join(lines) + "\n"
