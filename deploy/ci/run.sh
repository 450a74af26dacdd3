#!/bin/sh
# The pipeline as a build runs it, in an installed nexus-pipeline: the definitions load, a batch of requests is processed,
# the hour of it is aggregated, and its checks pass. Ends with the exit code of the first command that fails.
#
# With nothing set it brings its own PostgreSQL up in .nexus; NEXUS_DATABASE_URL names a server instead.
set -eu

definitions=${NEXUS_CI_DEFINITIONS:-nexus_pipeline.definitions}

echo "--- the definitions load"
dagster definitions validate -m "$definitions"

echo "--- requests are processed"
nexus migrate
# Where Dagster keeps its runs: what the build says, a checkout's own dagster.yaml, else the folder of `nexus`.
if [ -z "${DAGSTER_HOME:-}" ] && [ ! -f dagster.yaml ]; then
    DAGSTER_HOME=$(cd "${NEXUS_HOME:-.nexus}/dagster" && pwd)
    export DAGSTER_HOME
fi
nexus send --rsi 25 --count "${NEXUS_CI_REQUESTS:-1000}"
dagster job execute -m "$definitions" -j process_trading_workflow
nexus status

echo "--- the hour is aggregated, and reconciles with its executions"
# The hour that the newest execution was processed in: the clock may have gone into the next meanwhile.
hour=$(nexus executions --limit 1 --json | python3 -c '
import datetime, json, sys
newest = json.load(sys.stdin)[0]["created_at"]
print(datetime.datetime.fromisoformat(newest).astimezone(datetime.timezone.utc).strftime("%Y-%m-%d-%H:00"))')
dagster job execute -m "$definitions" -j hourly_aggregates_job --tags "{\"dagster/partition\": \"$hour\"}"

echo "--- the checks"
dagster job execute -m "$definitions" -j pipeline_checks_job
# Checks that block have failed their run above. This fails the build for every other failed check; with
# NEXUS_CI_STRICT=1 for warnings, too.
nexus checks ${NEXUS_CI_STRICT:+--strict}
