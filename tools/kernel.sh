# Sourced by tools/samples/build and tools/microvm/build, which set $cache, say and die: Debian packages that are unpacked into
# $cache and never installed, among them the cloud kernel.

download() { (cd "$2" && apt-get -q -o APT::Sandbox::User=root download "$1" >&2); }

# debian_package NAME: fetches a package once and prints the directory it is unpacked in.
debian_package() {
  local name=$1 dir="$cache/$1" fetch
  if [ ! -d "$dir" ]; then
    say "fetching $name"
    fetch=$(mktemp -d "$cache/.fetch.XXXXXX")
    # Lists that are out of date name packages that are gone: they are renewed once.
    download "$name" "$fetch" || { apt-get -q update >&2 && download "$name" "$fetch"; } || die "apt-get cannot download $name"
    dpkg-deb -x "$fetch"/*.deb "$fetch/root"
    rm -f "$fetch"/*.deb
    mv -T "$fetch/root" "$dir"
    rmdir "$fetch"
  fi
  echo "$dir"
}

# The package that the cloud kernel's meta package points to.
kernel_package() {
  local name
  name=$(kernel_dependency)
  [ -n "$name" ] || { apt-get -q update >&2; name=$(kernel_dependency); }
  [ -n "$name" ] || die 'apt does not know linux-image-cloud-amd64: look at its sources'
  echo "$name"
}

kernel_dependency() {
  apt-cache depends --no-recommends --no-suggests linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*-cloud-amd64\)$/\1/p' | head -n 1
}
