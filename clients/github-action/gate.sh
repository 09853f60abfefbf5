#!/usr/bin/env bash
# Runs `pandaprobe-server gate` from this repository, without installing it: writes the step summary
# and the output `verdict`. Its variables are those of action.yml.
set -euo pipefail

# Separated by blanks, commas or lines. A verdict that is misspelled would never fail the step.
fail_on=" "
for verdict in ${GATE_FAIL_ON//,/ }; do
  case $verdict in
  regressed | inconclusive | incomplete) fail_on+="$verdict " ;;
  *)
    echo "fail-on: $verdict is none of regressed, inconclusive and incomplete" >&2
    exit 4
    ;;
  esac
done

# Options first: what follows -- is not read as an option, whatever it begins with.
arguments=("--wait=$GATE_WAIT" "--markdown=$RUNNER_TEMP/pandaprobe-gate.md")
[ -z "$GATE_RULES" ] || arguments+=("--rules=$GATE_RULES")
[ -z "$GATE_JUNIT" ] || arguments+=("--junit=$GATE_JUNIT")
[ "$GATE_AA" != true ] || arguments+=(--aa)
arguments+=(-- "$GATE_BASE")
[ -z "$GATE_CANDIDATE" ] || arguments+=("$GATE_CANDIDATE")

rm -f "$RUNNER_TEMP/pandaprobe-gate.md"
root=$(cd "$(dirname "$0")/../.." && pwd)
status=0
# -P: packages of the repository that is tested, such as `domain`, don't take the place of ours.
PYTHONPATH=$root python -P -m entrypoints.cli gate "${arguments[@]}" || status=$?
# A Python that can't start the command has the status 1 too, which isn't a verdict.
[ -s "$RUNNER_TEMP/pandaprobe-gate.md" ] || exit 4
cat "$RUNNER_TEMP/pandaprobe-gate.md" >>"$GITHUB_STEP_SUMMARY"

case $status in
0) verdict=pass ;;
1) verdict=regressed ;;
2) verdict=inconclusive ;;
3) verdict=incomplete ;;
*) exit "$status" ;;
esac
echo "verdict=$verdict" >>"$GITHUB_OUTPUT"
case $fail_on in
*" $verdict "*) exit "$status" ;;
esac
