/** Counts its starts on its root disk and says so. */
const COUNT = 'n=$(cat /boots 2>/dev/null || echo 0); n=$((n + 1)); echo $n > /boots; echo boots=$n';
const WAIT = 'while :; do sleep 60 & wait $!; done';

/** Shell scripts for the first process of a container, by how it behaves. */
export const guestScripts = {
  steady: `trap 'exit 0' TERM; ${COUNT}; ${WAIT}`,
  stubborn: `trap '' TERM; ${COUNT}; while :; do sleep 1; done`,
  echo: `trap 'exit 0' TERM; ${COUNT}; exec 3<&0; cat <&3 & ${WAIT}`,
  brief: `${COUNT}; sleep 0.1; exit 7`,
  badImage: '',
  writer: `
    ${COUNT}; n=0
    while [ $n -lt 24 ]; do
      if dd if=/dev/zero of=/f$n bs=1M count=1 2>/dev/null; then n=$((n + 1)); else echo full; sleep 0.2; fi
    done
    echo wrote all; ${WAIT}`,
};
