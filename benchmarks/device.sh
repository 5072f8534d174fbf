#!/usr/bin/env bash
# One run on a machine with a GPU that settles most questions: builds, tests, checks memory, measures, and prints a table
# of twenty lines last. It ends within ten minutes, goes on after what fails, and downloads nothing.
#
#   benchmarks/device.sh [--out DIR] [--python PYTHON] [--wheels DIR] [--built] [--rehearse]
#
#   --out DIR        folder for log.txt, results.jsonl and table.txt (default: $OUT, else build/device)
#   --python PYTHON  with torch, Triton, pytest, scikit-build-core, pybind11, cmake and ninja (default: python3)
#   --wheels DIR     packages that this Python lacks, or has too old
#   --built          the package is installed for this Python: build nothing
#   --rehearse       the same steps on a CPU, with tiny shapes and Triton's interpreter; implies --built
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${OUT:-$root/build/device} python=python3 wheels= built= rehearse=
usage() { sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
while [ $# -gt 0 ]; do
  case $1 in
    --out | --python | --wheels)
      [ $# -ge 2 ] || { echo "device.sh: $1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"
      shift
      ;;
    --built) built=1 ;;
    --rehearse) rehearse=--rehearse built=1 ;;
    --help | -h) usage; exit 0 ;;
    *) echo "device.sh: unknown option $1; --help lists them" >&2; exit 2 ;;
  esac
  shift
done
python=$(command -v "$python") || { echo "device.sh: no such Python; name one with --python" >&2; exit 2; }
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
case $out/ in
  "$root"/benchmarks/results/*) echo "device.sh: $out holds the repository's results; name another folder" >&2; exit 2 ;;
esac
log=$out/log.txt results=$out/results.jsonl
rm -f "$results" "$out/table.txt"
: >"$log"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
total=${DEVICE_SECONDS:-570} # of the ten minutes

# What the programs see: the package and the wheels first, and never the sources in the repository's root.
export PYTHONPATH=$work/site:$work/wheels PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 TRITON_CACHE_DIR=$work/triton
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-8} HF_HUB_OFFLINE=1

note() { "$python" -P "$root/benchmarks/device_table.py" "$results" "$@" >>"$log"; }

# step NAME LIMIT COMMAND...: within its limit and what is left of the whole; its last line is kept in $last.
step() {
  local name=$1 limit=$2 left=$((total - SECONDS)) begin=$SECONDS status
  shift 2
  [ "$left" -lt "$limit" ] && limit=$left
  if [ "$limit" -lt 5 ]; then
    echo "$name: no time left"
    return 1
  fi
  printf '\n=== %s (at most %s s): %s\n' "$name" "$limit" "$*" >>"$log"
  timeout -k 5 "$limit" "$@" >"$work/output" 2>&1
  status=$?
  cat "$work/output" >>"$log"
  last=$(grep -v '^[[:space:]]*$' "$work/output" | tail -n 1)
  case $status in
    0) echo "$name: done in $((SECONDS - begin)) s" ;;
    124 | 137) echo "$name: stopped after $limit s" ;;
    *) echo "$name: failed in $((SECONDS - begin)) s: ${last:0:160}" ;;
  esac | tee -a "$log"
  return "$status"
}

have() { command -v "$1" >/dev/null 2>&1; }
bench() { local name=$1; shift; "$python" -P "$root/benchmarks/run.py" "$name" "$@"; }
export -f bench
export python root

versions() {
  "$python" -VV
  "$python" -P -m pip list 2>/dev/null | grep -iE '^(torch|triton|transformers|numpy|nvidia|pytest|scikit-build|pybind11|cmake|ninja)'
  if have nvcc; then nvcc --version; fi
  if have nvidia-smi; then nvidia-smi; fi
  return 0
}
export -f versions have
last=
step versions 30 bash -c versions
if [ -n "$wheels" ]; then
  step wheels 60 "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/wheels" "$wheels"/*.whl
fi
if [ -z "$built" ]; then
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
  begin=$SECONDS
  if DATAPROPHET_CUDA=ON step build 150 "$python" -m pip install -q --no-index --no-build-isolation --no-deps --no-compile \
    --target "$work/site" -C "build-dir=$work/build" -C "cmake.define.CMAKE_CUDA_ARCHITECTURES=${capability:-90}-real" "$root"; then
    note build "$((SECONDS - begin)) s" "$([ $((SECONDS - begin)) -lt 60 ] && echo true || echo false)"
  else
    note build "failed" false
  fi
fi

parallel=$("$python" -P -c 'import xdist; print("-n 8")' 2>/dev/null || true)
[ -n "$rehearse" ] && parallel=
# shellcheck disable=SC2046,SC2086  # several words, or none
step tests 150 "$python" -P -m pytest -q -m gpu -W default -p no:cacheprovider --rootdir "$root" -c "$root/pyproject.toml" \
  --continue-on-collection-errors $parallel $(cd "$root" && grep -rl 'mark[.]gpu' tests --include='test_*.py' | sed "s|^|$root/|") && ok=true || ok=false
grep -q ' passed' <<<"$last" || [ "$ok" = false ] || ok=  # all skipped: nothing was shown
note tests "$(echo "$last" | grep -oE '[0-9]+ (passed|failed|skipped|errors?)' | paste -sd, | sed 's/,/, /g')" $ok

step measure 220 bash -c 'bench measure_device --results "$0" $1' "$results" "$rehearse"
step model 120 bash -c 'bench measure_device_model --results "$0" $1' "$results" "$rehearse"

if [ -n "$rehearse" ]; then
  step cases 60 bash -c 'bench device_cases --rehearse'
  step profile 60 bash -c 'bench device_cases --profile --rehearse'
else
  if have compute-sanitizer; then
    summaries= ok=true
    for tool in memcheck racecheck; do
      step $tool 60 compute-sanitizer --tool $tool --error-exitcode 1 --target-processes all \
        "$python" -P "$root/benchmarks/run.py" device_cases || ok=false
      summaries="${summaries:+$summaries; }${last##*: }"
    done
    note sanitizer "${summaries:0:60}" $ok
  fi
  if have ncu; then
    step profile 60 ncu --clock-control none --target-processes all --section SpeedOfLight --section WarpStateStats \
      --section Occupancy --kernel-name 'regex:distance_tiles|sum_directions|sweep_kernel' --launch-skip 3 --launch-count 3 \
      "$python" -P "$root/benchmarks/run.py" device_cases --profile && ok=true || ok=false
    note profile "$(grep -cE '(distance_tiles|sum_directions|sweep_kernel).*Context' "$work/output")" $ok
  fi
fi

echo "all in $SECONDS s; $log"
"$python" -P "$root/benchmarks/device_table.py" "$results" | tee "$out/table.txt"
