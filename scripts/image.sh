#!/usr/bin/env bash
# image.sh [--bin DIR] [--base IMAGE] [--tag NAME] [--cuda]: builds the container image from the binaries in DIR (default:
# build/release/bin), with buildah, podman or docker. --base: a Debian 12 (default: that of deploy/Dockerfile). --tag: default
# localhost/lckv:dev. --cuda: with liblckv_cuda.so and the cuBLAS library that it needs (some hundred MB); the driver comes
# from the host. image.sh [--bin DIR] [--cuda] --collect DIR: only puts together what the image adds to its base.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

bin="$ROOT/build/release/bin"
tag=localhost/lckv:dev
base=""
files=""
cuda=0
while [ "$#" -gt 0 ]; do
  case "$1" in
    --bin) bin=$2; shift 2 ;;
    --base) base=$2; shift 2 ;;
    --tag) tag=$2; shift 2 ;;
    --collect) files=$2; shift 2 ;;
    --cuda) cuda=1; shift ;;
    *) die "usage: image.sh [--bin DIR] [--base IMAGE] [--tag NAME] [--cuda] [--collect DIR]" ;;
  esac
done

# The C library is the base's: every other library that FILE needs, by path.
libraries_of() {
  local missing
  missing=$(ldd "$1" | sed -n 's/^\s*\(.*\) => not found/\1/p')
  [ -z "$missing" ] || die "$1 needs $missing"
  ldd "$1" | awk '$2 == "=>" { print $3 }' |
    grep -vE '/(libc|libm|libdl|libpthread|librt|libresolv|libcuda)\.so\.[0-9]+$' || true
}

# copy_copyright DIR LIBRARY…: what licences ask for, of the Debian packages that libraries come from.
copy_copyright() {
  local to="$1/usr/local/share/doc/lckv" package
  shift
  mkdir -p "$to"
  # Those that no package has, CUDA's among them, are errors of one line each.
  { dpkg-query -S "$@" 2>/dev/null || true; } | cut -d: -f1 | sort -u | while read -r package; do
    install -m 644 "/usr/share/doc/$package/copyright" "$to/$package.copyright"
  done
}

collect() {
  local to=$1 program="$bin/lckv"
  [ -x "$program" ] || die "no $program: scripts/build.sh release lckv"
  rm -rf "$to"
  mkdir -p "$to/usr/local/bin" "$to/usr/local/lib/lckv" "$to/etc/ld.so.conf.d"
  install -m 755 -s "$program" "$to/usr/local/bin/lckv"
  local -a wanted=("$program")
  if [ "$cuda" = 1 ]; then
    [ -f "$bin/liblckv_cuda.so" ] || die "no $bin/liblckv_cuda.so: nvcc was not found when it was built"
    install -m 755 -s "$bin/liblckv_cuda.so" "$to/usr/local/lib/liblckv_cuda.so"
    wanted+=("$bin/liblckv_cuda.so")
  fi
  local found=""
  for program in "${wanted[@]}"; do
    found+=$(libraries_of "$program")$'\n'  # an assignment: where that fails the script ends
  done
  local -a libraries
  mapfile -t libraries < <(sort -u <<<"$found" | sed '/^$/d')
  install -m 644 "${libraries[@]}" "$to/usr/local/lib/lckv/"
  mapfile -t libraries < <(realpath "${libraries[@]}")
  # dpkg knows files by the names they were packed with: with or without /usr.
  copy_copyright "$to" "${libraries[@]}" "${libraries[@]#/usr}"
  echo /usr/local/lib/lckv >"$to/etc/ld.so.conf.d/lckv.conf"
  say "image: $(du -sh "$to" | cut -f1) beside the base"
}

if [ -n "$files" ]; then
  collect "$files"
  exit 0
fi

builder=""
for candidate in buildah podman docker; do
  if command -v "$candidate" >/dev/null; then builder=$candidate && break; fi
done
[ -n "$builder" ] || die "image: needs buildah, podman or docker"
collect "$ROOT/build/image/files"
arguments=(-f "$ROOT/deploy/Dockerfile" -t "$tag" --build-arg FILES=prebuilt
  --build-arg "REVISION=$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)")
[ -z "$base" ] || arguments+=(--build-arg "BASE=$base")
# Without user namespaces and cgroups of its own, as in a container.
[ "$builder" = docker ] || arguments+=(--isolation chroot)
step "image: $tag with $builder" "$builder" build "${arguments[@]}" "$ROOT"
