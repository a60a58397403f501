#!/usr/bin/env bash
# Checks and measures a build of Aweigh on a machine with a GPU and nothing else:
#
#   scripts/gpu_check.sh BINARY [--backend NAME] [--device N] [--out FOLDER]
#                        [--bccd FOLDER] [--budget SECONDS] [--tiny]
#
# BINARY is an `aweigh` with the backend (cuda, wgpu, vulkan, ...; cuda by default):
# nothing is built here. In this order, the most important first:
#
#   agreement     `aweigh check`: the GPU computes what the CPU computes, every method
#   bench_MODEL   time, images per second and memory of the six models with ResNet-50
#                 at 800 x 1333: inference and training, 1, 2 and 8 images a step
#   torchvision   the same of torchvision's FCOS and RetinaNet, with and without TF32
#                 and mixed precision, if python3 has torch and torchvision
#   training      a small FCOS learns blood cells (--bccd, datasets/bccd by default),
#                 or shapes where that folder is missing; its AP beside the CPU's
#   half          training steps of FCOS in half precision (bf16 on cuda and rocm, else f16)
#
# Lines of JSON go to standard output and to FOLDER/results.jsonl (gpu_check by
# default), what the steps say to FOLDER/logs. A step that fails does not end the
# others. Steps have a limit each, all together the budget, 450 seconds: what no
# longer fits is left out with a line. A second call with the same FOLDER goes on:
# what was ok is not done again. Exit code: 0 all is ok, 1 something is not, or is
# left out, 2 wrong usage.
#
# --tiny does a little of each on a small network, for a GPU that is a CPU (Mesa's
# lavapipe), with four times the limits. CUBECL_AUTOTUNE_LEVEL=0 spares it the
# choice of kernels.
set -uo pipefail

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

binary='' backend=cuda device=0 out=gpu_check bccd=datasets/bccd budget='' tiny=''
while (($#)); do
    case $1 in
        --backend | --device | --out | --bccd | --budget)
            (($# > 1)) || usage
            declare "${1#--}=$2"
            shift ;;
        --tiny) tiny=1 ;;
        -*) usage ;;
        *)
            [[ -z $binary ]] || usage
            binary=$1 ;;
    esac
    shift
done
# How many times longer than on a GPU steps may take.
patience=${tiny:+4}
: "${budget:=$((450 * ${patience:=1}))}"
[[ -n $binary && $budget =~ ^[0-9]+$ ]] || usage
binary=$(realpath -m "$binary") out=$(realpath -m "$out") bccd=$(realpath -m "$bccd")
[[ -x $binary ]] || { echo "$binary is not a program" >&2; exit 2; }
cd "$(dirname "$0")/.." || exit 2
mkdir -p "$out/logs" "$out/done" || exit 2
settings="backend $backend, device $device${tiny:+, tiny}"
if [[ -e $out/settings && $(< "$out/settings") != "$settings" ]]; then
    echo "$out has results of other settings ($(< "$out/settings")): name another folder by --out" >&2
    exit 2
fi
echo "$settings" > "$out/settings"

methods=(fcos fovea fovea_align reppoints fsaf retina retina_fsaf)
models=(fcos retina reppoints fsaf fovea retina_fsaf)
on_device=(--backend "$backend" --device "$device")
# Many shapes fill the kernels of a GPU; on a CPU every one is a minute of compilation.
check_size=(--size 256x320 --channels 64)
bench_size=(--size 800x1333 --batch '1,2,8' --warmup 2 --repeats 5)
bench_modes=infer,train
if [[ -n $tiny ]]; then
    methods=(fcos)
    models=(fcos)
    check_size=(--size 64 --channels 8)
    bench_size=(--size 64 --batch 1 --warmup 1 --repeats 2)
    bench_modes=infer
fi

# What makes the network of the quick start one of few shapes.
small=(--set detector.backbone.num_stages=2 --set 'detector.backbone.out_indices=[0,1]'
    --set detector.backbone.base_channels=8 --set detector.neck.out_channels=8
    --set detector.neck.start_level=0 --set detector.neck.num_outs=2
    --set detector.fcos.feat_channels=8 --set detector.fcos.stacked_convs=1
    --set 'detector.fcos.regress_ranges=[[-1.0, 32.0], [32.0, 1e8]]')

# --- lines -----------------------------------------------------------------------

# The text as a string of JSON.
quoted() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '"%s"' "${text//[[:cntrl:]]/ }"
}

# A line of JSON from the members between its braces.
say() {
    printf '{%s}\n' "$1" | tee -a "$out/results.jsonl"
}

# Standard input's lines of JSON with the name of the step; all else goes to its log.
tagged() {
    local line
    while IFS= read -r line; do
        case $line in
            '{'*) say "\"step\":\"$1\",${line:1:-1}" ;;
            *) printf '%s\n' "$line" >> "$out/logs/$1.log" ;;
        esac
    done
}

# --- steps -----------------------------------------------------------------------

# Whether something of this call is not ok, or left out.
incomplete=0
# When the step that runs has to end, in seconds since the start of this script.
deadline=0

# Runs a program for as long as its step may take.
limited() {
    local left=$((deadline - SECONDS))
    ((left > 0)) || return 124
    timeout --foreground --kill-after=5 "$left" "$@" < /dev/null
}

# Prints the memory in use of the whole GPU twice a second, until it is killed.
watch_memory() {
    exec nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits --id="$device" \
        --loop-ms=500
}

# step NAME LIMIT COMMAND...: runs it, unless it was ok before or no longer fits.
step() {
    local name=$1 limit=$(($2 * patience)) log="$out/logs/$1.log" left=$((budget - SECONDS))
    shift 2
    if [[ -e $out/done/$name ]]; then
        say "\"step\":\"$name\",\"status\":\"ok before\""
        return
    fi
    # Half of its limit is what a step takes where all is well.
    if ((left < limit / 2)); then
        incomplete=1
        say "\"step\":\"$name\",\"status\":\"left out\",\"reason\":\"$left s of the budget of $budget s are left\""
        return
    fi
    local start=$SECONDS watcher='' code status members
    deadline=$((SECONDS + (left < limit ? left : limit)))
    if command -v nvidia-smi > /dev/null; then
        watch_memory > "$out/logs/$name.memory" 2> /dev/null &
        watcher=$!
    fi
    : > "$log"
    "$@" 2>> "$log" | tagged "$name"
    code=${PIPESTATUS[0]}
    if [[ -n $watcher ]]; then
        kill "$watcher" 2> /dev/null
        wait "$watcher" 2> /dev/null
    fi
    case $code in
        0) status=ok && touch "$out/done/$name" ;;
        124 | 137) status='out of time' && incomplete=1 ;;
        *) status=failed && incomplete=1 ;;
    esac
    members="\"step\":\"$name\",\"status\":\"$status\",\"seconds\":$((SECONDS - start))"
    if [[ -n $watcher ]]; then
        members+=",\"gpu_peak_mib\":$(awk '$1 > peak { peak = $1 } END { print peak + 0 }' "$out/logs/$name.memory")"
    fi
    if [[ $status != ok ]]; then
        members+=",\"code\":$code,\"reason\":$(quoted "$(grep -v -e '^ *$' -e '^note:' "$log" | tail -n 1 | cut -c 1-400)")"
    fi
    say "$members"
}

# Compares the methods that have not agreed yet; all in one process, which compiles a kernel once.
agreement() {
    local lines="$out/logs/agreement.jsonl" method code result=0 left=()
    for method in "${methods[@]}"; do
        [[ -e $out/done/agreement_$method ]] || left+=("$method")
    done
    while ((${#left[@]})); do
        limited "$binary" check "${on_device[@]}" "${check_size[@]}" --json \
            --method "$(IFS=,; echo "${left[*]}")" | tee "$lines"
        code=${PIPESTATUS[0]}
        ((code == 0)) || result=$code
        while ((${#left[@]})) && judged "${left[0]}" "$lines"; do
            left=("${left[@]:1}")
        done
        ((code != 124 && code != 137)) || break
        # A method that ends the program has no lines: those after it are compared in another.
        left=("${left[@]:1}")
    done
    return "$result"
}

# judged METHOD LINES: whether there are lines of the method; notes when all of them are ok.
judged() {
    local ok
    ok=$(grep -c "\"method\":\"$1\",.*\"ok\":true" "$2")
    # The forward pass, losses, gradients and steps.
    ((ok < 4)) || touch "$out/done/agreement_$1"
    grep -q "\"method\":\"$1\"," "$2"
}

benchmark() {
    local model=("$1_r50.toml")
    [[ -z $tiny ]] || model=(quickstart.toml "${small[@]}")
    limited "$binary" bench "${on_device[@]}" "${bench_size[@]}" --mode "$bench_modes" \
        --config "${model[@]}"
}

half() {
    local precision=f16
    case $backend in cuda | rocm) precision=bf16 ;; esac
    limited "$binary" bench "${on_device[@]}" "${bench_size[@]}" --mode train \
        --config fcos_r50.toml --set "train.precision=$precision"
}

torchvision() {
    local options=(--size 800x1333 --batches 1 2 8)
    [[ -z $tiny ]] || options=(--size 64 --batches 1 --device cpu --warmup 1 --iterations 1)
    limited python3 scripts/bench_torchvision.py "${options[@]}"
}

# --- training --------------------------------------------------------------------

# The last value of KEY in the metrics of a run.
last() {
    grep -o "\"$2\":[-+.0-9e]*" "$1/metrics.jsonl" | tail -n 1 | cut -d : -f 2
}

# A small FCOS learns on the GPU. Its AP is compared with that of the CPU, measured beside it where
# there are cores for both, recorded otherwise; `--tiny` compares the loss, before there is an AP.
training() {
    local config changes train data key=AP cpu bound=0.03 found source=recorded beside='' start code
    if [[ -z $tiny && -d $bccd/images ]]; then
        # Three seeds on the CPU (`aweigh train --config fcos_r18_bccd.toml --set train.epochs=10`)
        # end at 0.500, 0.485 and 0.476. A device draws other weights from a seed, as if it were
        # another one.
        data=bccd config=fcos_r18_bccd.toml cpu=0.487
        changes=(--set train.epochs=10
            --set "data.train.annotations=$bccd/annotations/instances_trainval.json"
            --set "data.val.annotations=$bccd/annotations/instances_test.json"
            --set "data.train.images=$bccd/images" --set "data.val.images=$bccd/images")
    else
        # Three seeds (`aweigh train --config quickstart.toml`) end at 0.580, 0.569 and 0.570.
        data=synthetic config=quickstart.toml cpu=0.573
        local shapes="$out/shapes"
        changes=(--set "data.synth.out=$shapes"
            --set "data.train.annotations=$shapes/annotations/instances_train.json"
            --set "data.val.annotations=$shapes/annotations/instances_val.json"
            --set "data.train.images=$shapes/train" --set "data.val.images=$shapes/val")
    fi
    if [[ -n $tiny ]]; then
        # Both start from the same weights: the twenty steps change the loss by thirty times as much.
        key=loss bound=0.001
        changes+=(--set data.synth.train=16 --set data.synth.val=2
            --set data.transform.short_edge=56 --set data.transform.long_edge=64
            "${small[@]}"
            --set train.batch_size=2 --set train.iterations=20 --set train.log_every=1
            --set train.eval_every_iterations=20)
    fi
    rm -rf "$out/runs"
    train=("$binary" train --config "$config" "${changes[@]}")
    if [[ -n $tiny ]]; then
        limited "${train[@]}" --backend cpu --run-dir "$out/runs/start" --set train.iterations=1 >&2 ||
            return
        train+=(--set "model.weights.detector=$out/runs/start")
        limited "${train[@]}" --backend cpu --run-dir "$out/runs/cpu" >&2 || return
        cpu=$(last "$out/runs/cpu" "$key") source=measured
    elif [[ $data == bccd ]] && (($(nproc) >= 8)); then
        timeout --foreground --kill-after=5 $((deadline - SECONDS)) "${train[@]}" --backend cpu \
            --threads $(($(nproc) / 2)) --run-dir "$out/runs/cpu" > "$out/logs/training_cpu.log" 2>&1 &
        beside=$!
    fi
    start=$SECONDS
    limited "${train[@]}" "${on_device[@]}" --run-dir "$out/runs/gpu" >&2 || {
        code=$?
        [[ -z $beside ]] || kill "$beside"
        return "$code"
    }
    local seconds=$((SECONDS - start))
    found=$(last "$out/runs/gpu" "$key")
    if [[ -n $beside ]] && wait "$beside"; then
        cpu=$(last "$out/runs/cpu" "$key") source=measured
    fi
    printf '{"data":"%s","config":"%s","seconds":%d,"%s":%s,"cpu_%s":%s,"cpu_is":"%s","bound":%s}\n' \
        "$data" "$config" "$seconds" "$key" "${found:-null}" "$key" "${cpu:-null}" "$source" "$bound"
    awk -v a="$found" -v b="$cpu" -v bound="$bound" \
        'BEGIN { d = a - b; exit !(a != "" && b != "" && d <= bound && d >= -bound) }' ||
        { echo "$key is $found, on the CPU $cpu: more than $bound apart" >&2; return 1; }
}

# --- all of it -------------------------------------------------------------------

members="\"start\":\"$(date -u +%FT%TZ)\",\"version\":$(quoted "$("$binary" --version)")"
members+=",\"backend\":\"$backend\",\"device\":$device,\"cores\":$(nproc)"
members+=",\"name\":$(quoted "$("$binary" devices 2> /dev/null | awk -v b="$backend" -v d="$device" \
    '$1 == b && $2 == d { sub(/^ *[^ ]+ +[^ ]+ +/, ""); sub(/ +$/, ""); print }')")"
members+=",\"autotune\":$(quoted "${CUBECL_AUTOTUNE_LEVEL:-default}")"
if command -v nvidia-smi > /dev/null; then
    query=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader --id="$device" 2>&1)
    members+=",\"nvidia_smi\":$(quoted "$query")"
fi
# Burn has no switch for either; `aweigh check` says which bounds it took.
members+=",\"tf32\":\"$([[ $backend == cuda ]] && echo "where autotune takes it" || echo off)\",\"amp\":\"off but in the step half\""
say "$members"

step agreement 150 agreement
step "bench_${models[0]}" 90 benchmark "${models[0]}"
find_torch='from importlib.util import find_spec as find; exit(not (find("torch") and find("torchvision")))'
if python3 -c "$find_torch" 2> /dev/null; then
    step torchvision 60 torchvision
else
    say '"step":"torchvision","status":"not here","reason":"python3 has no torch and torchvision"'
fi
step training 120 training
# On a GPU that is a CPU its kernels are minutes of compilation, and tests have compared them.
[[ -n $tiny ]] || step half 60 half
for model in "${models[@]:1}"; do
    step "bench_$model" 70 benchmark "$model"
done

members="\"end\":\"$(date -u +%FT%TZ)\",\"seconds\":$SECONDS"
if ((incomplete)); then
    say "$members,\"ok\":false,\"next\":\"the same command goes on with what is not ok\""
    exit 1
fi
say "$members,\"ok\":true"
