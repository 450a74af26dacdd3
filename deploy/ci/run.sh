#!/bin/sh
# Run the pipeline in a build, with nexus-pipeline installed: load the definitions, process a batch of requests, aggregate
# its hour and run the checks. Exits with the code of the first command that fails.
#
# With nothing set, PostgreSQL comes from a wheel and runs in .nexus; NEXUS_DATABASE_URL names a server instead.
set -eu

definitions=${NEXUS_CI_DEFINITIONS:-nexus_pipeline.definitions}

echo "--- the definitions load"
dagster definitions validate -m "$definitions"

echo "--- requests are processed"
nexus migrate
# Where Dagster keeps its runs: DAGSTER_HOME of the build, a dagster.yaml in this folder, otherwise the folder of `nexus`.
if [ -z "${DAGSTER_HOME:-}" ] && [ ! -f dagster.yaml ]; then
    DAGSTER_HOME=$(cd "${NEXUS_HOME:-.nexus}/dagster" && pwd)
    export DAGSTER_HOME
fi
nexus send --rsi 25 --count "${NEXUS_CI_REQUESTS:-1000}"
dagster job execute -m "$definitions" -j process_trading_workflow
nexus status

echo "--- the hour is aggregated, and reconciles with its executions"
# The processing hour of the newest execution, which need not be the current one any more.
hour=$(nexus executions --limit 1 --json | python3 -c '
import datetime, json, sys
newest = json.load(sys.stdin)[0]["created_at"]
print(datetime.datetime.fromisoformat(newest).astimezone(datetime.timezone.utc).strftime("%Y-%m-%d-%H:00"))')
dagster job execute -m "$definitions" -j hourly_aggregates_job --tags "{\"dagster/partition\": \"$hour\"}"

echo "--- the checks"
dagster job execute -m "$definitions" -j pipeline_checks_job
# A blocking check has already failed its run above. This fails the build for every other failed check, and with
# NEXUS_CI_STRICT=1 for warnings, too.
nexus checks ${NEXUS_CI_STRICT:+--strict}
