#!/bin/sh
# cp of 10 000 small files into a running container (its root, a volume) and out of it, against tar between two directories and,
# where dockerd runs, against docker cp. Interleaved; prints the medians in milliseconds and their ratios.
# Usage: bench/cp.sh CORTEN [ROUNDS]; as root.
set -eu
corten=${1:?the binary}
rounds=${2:-7}
dir=$(mktemp -d)
run() { "$corten" --root "$dir/root" --run-root "$dir/run" "$@"; }
clean() {
    run rm -f bench >/dev/null 2>&1 || true
    [ -z "$docker" ] || docker rm -f "$name" >/dev/null 2>&1 || true
    rm -rf "$dir"
}
docker=
name=corten-bench-$$
trap clean EXIT
mkdir -p "$dir/src" "$dir/tree/bin"
for d in $(seq 100); do
    mkdir "$dir/src/$d"
    for f in $(seq 100); do echo "file $f of $d" > "$dir/src/$d/$f"; done
done
cp /bin/busybox "$dir/tree/bin/"
ln -s busybox "$dir/tree/bin/sleep"
tar -C "$dir/tree" -cf "$dir/bb.tar" .
run import "$dir/bb.tar" bench >/dev/null
run run -d --name bench -v corten-bench:/vol bench sleep 100000 >/dev/null
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    docker=yes
    docker import "$dir/bb.tar" corten-bench >/dev/null
    docker run -d --network none --name "$name" corten-bench sleep 100000 >/dev/null
fi
ms() {
    from=$(date +%s%N)
    "$@"
    echo $((($(date +%s%N) - from) / 1000)) >> "$dir/$label"
}
by_tar() { mkdir "$2"; tar -C "$1" -cf - . | tar -C "$2" -xf -; }
for n in $(seq "$rounds"); do
    label=corten-in ms run cp "$dir/src" "bench:/in$n"
    label=tar ms by_tar "$dir/src" "$dir/tar$n"
    label=corten-vol ms run cp "$dir/src" "bench:/vol/in$n"
    label=corten-out ms run cp "bench:/in$n" "$dir/out$n"
    [ -z "$docker" ] || {
        label=docker-in ms docker cp -q "$dir/src" "$name:/in$n"
        label=docker-out ms docker cp -q "$name:/in$n" "$dir/dout$n"
        rm -rf "$dir/dout$n"
    }
    rm -rf "$dir/tar$n" "$dir/out$n"
done
median() { sort -n "$dir/$1" | sed -n "$(((rounds + 1) / 2))p"; }
tar=$(median tar)
for label in tar corten-vol corten-in corten-out docker-in docker-out; do
    [ -f "$dir/$label" ] || continue
    m=$(median "$label")
    awk -v l="$label" -v m="$m" -v t="$tar" 'BEGIN { printf "%-11s %8.1f ms  %.2f x tar\n", l, m / 1000, m / t }'
done
