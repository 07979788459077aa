# Init of a test's namespaces: binds private directories over libvirt's fixed ones, runs virtlogd and libvirtd, kills
# and restarts libvirtd at each line of input (then AGAIN_FILE appears), and ends both at its end. bash reaps every orphan of the namespace.
#
#   usage: libvirtd-init.bash AGAIN_FILE SOURCE:TARGET...
set -u
again=$1
shift
for pair in "$@"; do
  [ -e "${pair##*:}" ] || mkdir -p "${pair##*:}"
  mount --bind "${pair%%:*}" "${pair##*:}" || exit 1
done

start_libvirtd() {
  libvirtd --config /etc/libvirt/libvirtd.conf --pid-file /run/libvirt/libvirtd.pid </dev/null &
  libvirtd=$!
}

virtlogd --config /etc/libvirt/virtlogd.conf --pid-file /run/libvirt/virtlogd.pid </dev/null &
virtlogd=$!
start_libvirtd
while read -r _; do
  kill -KILL "$libvirtd"
  wait "$libvirtd"
  start_libvirtd
  : >"$again"
done
kill "$libvirtd"
wait "$libvirtd"
kill "$virtlogd"
wait "$virtlogd"
