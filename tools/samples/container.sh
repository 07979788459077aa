# Sourced by build: the OCI image. Image layout by hand: one gzip layer, configuration, manifest, index.

build_container() {
  local key root
  key=$(key_of "$here/build" "$here/container.sh" "$here"/container/*)
  if fresh busybox.oci.tar "$key"; then say "busybox.oci.tar is up to date"; return; fi

  root="$work/container"
  mkdir -p "$root"/{bin,dev,etc,proc,root,run,srv,sys,tmp,var/log}
  chmod 1777 "$root/tmp"
  chmod 700 "$root/root"
  cp "$(debian_package busybox-static)/bin/busybox" "$root/bin/busybox"
  chmod 755 "$root/bin/busybox"
  local applet
  for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  ln -s bin "$root/sbin"
  install -m 644 "$here"/container/{passwd,group} "$root/etc/"
  install -m 755 "$here/container/demo" "$root/bin/demo"

  tar_of "$root" "$work/layer.tar" .
  gzip -9nk "$work/layer.tar"
  oci_archive busybox "$work/layer.tar" gzip '"Env":["PATH=/bin"],"Entrypoint":["/bin/demo"],"WorkingDir":"/","ExposedPorts":{"8080/tcp":{}},"StopSignal":"SIGTERM"'
  finish busybox.oci.tar "$work/busybox.oci.tar" "$key"
}

# oci_archive NAME LAYER gzip|zstd CONFIG: writes $work/NAME.oci.tar, an image of one layer: LAYER, whose packed form lies beside it
# as LAYER.gz or LAYER.zst, and is moved. CONFIG is what its configuration says of its process, JSON without braces.
oci_archive() {
  local name=$1 tar=$2 packing=$3 process=$4 layout="$work/$1.layout" diff layer config manifest when packed
  packed=$tar.$([ "$packing" = zstd ] && echo zst || echo gz)
  when=$(date -u -d @$stamp +%FT%TZ)
  mkdir -p "$layout/blobs/sha256"
  diff=$(sha256sum "$tar" | cut -d' ' -f1)
  layer=$(add_blob "$packed")
  printf '{"architecture":"amd64","os":"linux","created":"%s","config":{%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"%s","created_by":"tools/samples/build"}]}' \
    "$when" "$process" "$diff" "$when" >"$work/config.json"
  config=$(add_blob "$work/config.json")
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
    "$(descriptor application/vnd.oci.image.config.v1+json "$config")" \
    "$(descriptor "application/vnd.oci.image.layer.v1.tar+$packing" "$layer")" >"$work/manifest.json"
  manifest=$(add_blob "$work/manifest.json")
  printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%d,"platform":{"architecture":"amd64","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}' \
    "$manifest" "$(stat -c %s "$layout/blobs/sha256/$manifest")" "$name" >"$layout/index.json"
  tar_of "$layout" "$work/$name.oci.tar" oci-layout index.json blobs
  rm -rf "$layout" "$tar"
}

# tar_of DIR FILE MEMBER…: a tar whose bytes depend on names, modes and contents alone.
tar_of() {
  local dir=$1 file=$2
  shift 2
  tar -C "$dir" --format=ustar --sort=name --mtime=@$stamp --owner=0 --group=0 --numeric-owner -cf "$file" "$@"
}

# add_blob FILE: moves a file into the layout and prints its hex digest.
add_blob() {
  local hex
  hex=$(sha256sum "$1" | cut -d' ' -f1)
  mv "$1" "$layout/blobs/sha256/$hex"
  echo "$hex"
}

# descriptor MEDIA_TYPE HEX
descriptor() { printf '{"mediaType":"%s","digest":"sha256:%s","size":%d}' "$1" "$2" "$(stat -c %s "$layout/blobs/sha256/$2")"; }
