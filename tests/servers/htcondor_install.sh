#!/usr/bin/env bash
# Unpacks Debian trixie's package `condor`, relocated, into /opt/dune-prompt-condor (or $1): a pool for the tests (tests/servers/htcondor.py).
# The system's own packages stay as they are: the programs bring their libraries and their loader, so that an older Debian runs them too.
# Needs root, apt with a Debian mirror, and patchelf. Safe to repeat; nothing is done when it is there.
set -euo pipefail
target=$(realpath -m "${1:-/opt/dune-prompt-condor}")
release=trixie
# Change it when this script unpacks something else: what is there is then unpacked anew.
stamp="condor of $release, layout 1"
if [ "$(cat "$target/.complete" 2>/dev/null || true)" = "$stamp" ]; then exit 0; fi

for program in apt-get dpkg-deb patchelf readelf; do
  command -v "$program" >/dev/null || { echo "htcondor: the program $program is missing" >&2; exit 1; }
done
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$' | sort -u | head -n 1 || true)
if [ -z "$mirror" ]; then
  echo "htcondor: apt knows no Debian mirror; run 'apt-get update' on a Debian first" >&2
  exit 1
fi
work=$(mktemp -d)
draft=$target.$$
trap 'rm -rf "$work" "$draft"' EXIT

# An apt of its own, which knows of no installed package: it downloads condor and everything below it.
mkdir -p "$work"/{state/lists/partial,cache/archives/partial,root}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$work/sources.list"
: >"$work/status"
apt=(apt-get -qq -o Dir::State="$work/state" -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache"
  -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::main=- -o Dir::Etc::parts=-
  -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o APT::Install-Recommends=false)
"${apt[@]}" update
"${apt[@]}" -y --download-only install condor >/dev/null
for package in "$work"/cache/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done

libraries=$(dirname "$(find "$work/root/usr/lib" -maxdepth 2 -name 'ld-linux*' | head -n 1)")
mkdir -p "$draft"/{bin,sbin,libexec,lib}
cp -a "$work"/root/usr/bin/condor_* "$draft/bin/"
cp -a "$work"/root/usr/sbin/condor_* "$draft/sbin/"
cp -a "$work"/root/usr/libexec/condor/. "$draft/libexec/"
find "$libraries" "$work/root/usr/lib" -maxdepth 1 -name '*.so*' -exec cp -L --no-clobber -t "$draft/lib" {} + 2>/dev/null || true
cp -L "$libraries"/ld-linux* "$draft/lib/loader.so"
chmod -R u+w,go+rX "$draft"
while IFS= read -r file; do
  readelf -l "$file" 2>/dev/null | grep -q INTERP || continue
  patchelf --set-interpreter "$target/lib/loader.so" --force-rpath --set-rpath "$target/lib" "$file"
done < <(find "$draft/bin" "$draft/sbin" "$draft/libexec" -type f)
for file in "$draft"/lib/libcondor_utils_*.so "$draft"/lib/libclassad.so*; do
  patchelf --force-rpath --set-rpath "$target/lib" "$file"
done
echo "$stamp" >"$draft/.complete"
rm -rf "$target"
mv "$draft" "$target"
"$target/bin/condor_version" | head -n 1
