# What a hostile root process in a container tries, one line of output per attempt: `name<TAB>reached` or
# `name<TAB>errno N`. Arguments: a directory of its own, and the pid of a process on the host.
# An attempt goes only as far as the check that must refuse it: run without a container it changes nothing that lasts,
# so that the same program proves that each attempt works where nothing stands in its way.
# It needs no module and no C compiler: perl's syscall() is enough.
my ($scratch, $victim) = @ARGV;
my $arm = `/bin/busybox uname -m` =~ /aarch64/;
my ($EPERM, $ENOENT, $ENOEXEC, $EBUSY, $EFAULT, $EINVAL, $ESTALE, $ENOKEY) = (1, 2, 8, 16, 14, 22, 116, 126);
my ($RDONLY, $WRONLY, $RDWR) = (0, 1, 2);
$| = 1;

# Numbers of system calls: x86-64, arm64 (from 424 on they are the same). 0: not on this machine.
my %number = (
  socket => [41, 198], clone => [56, 220], kill => [62, 129], ptrace => [101, 117], syslog => [103, 116],
  personality => [135, 92], setscheduler => [144, 119], pivot_root => [155, 41], adjtimex => [159, 171], acct => [163, 89],
  settimeofday => [164, 170], mount => [165, 40], umount2 => [166, 39], swapon => [167, 224], reboot => [169, 142],
  sethostname => [170, 161], iopl => [172, 0], ioperm => [173, 0], init_module => [175, 105],
  delete_module => [176, 106], setxattr => [188, 5], clock_settime => [227, 112], kexec_load => [246, 104],
  add_key => [248, 217], request_key => [249, 218], keyctl => [250, 219], mknodat => [259, 33], unshare => [272, 97],
  perf_event_open => [298, 241], fanotify_init => [300, 262], open_by_handle_at => [304, 265], setns => [308, 268],
  process_vm_readv => [310, 270], kcmp => [312, 272], finit_module => [313, 273], bpf => [321, 280],
  userfaultfd => [323, 282], io_uring_setup => [425, 425], open_tree => [428, 428], fsopen => [430, 430],
  pidfd_open => [434, 434], clone3 => [435, 435], mount_setattr => [442, 442],
);
my ($NEWNS, $NEWUSER) = (0x20000, 0x10000000);

# Calls the kernel; true when it let us: a result, or one of the errors that come after the check.
sub call {
  my ($name, $after, @args) = @_;
  my $n = $number{$name}[$arm];
  if ($n == 0) { $! = 38; return 0 }
  my $result = syscall($n, @args);
  return 1 if $result >= 0;
  my $errno = $! + 0;
  return 1 if grep { $_ == $errno } @$after;
  $! = $errno;
  return 0;
}

# Opens a path; for reading it must also give a byte.
sub opened {
  my ($path, $how) = @_;
  sysopen(my $file, $path, $how) or return 0;
  return 1 if $how != $RDONLY;
  $! = 0;
  my $got = sysread($file, my $byte, 1);
  return 1 if $got || $! == $EINVAL;    # some give eight bytes or none
  $! ||= 61;    # ENODATA: it is there, and empty
  return 0;
}

# Each attempt in a process of its own: what one gains, the next does not have.
sub attempt {
  my ($name, $try) = @_;
  my $pid = fork();
  if ($pid == 0) {
    my $reached = $try->();
    my $errno = $! + 0;
    exit($reached ? 0 : ($errno || 255));
  }
  waitpid($pid, 0);
  my ($signal, $status) = ($? & 127, $? >> 8);
  print "$name\t", $signal ? "signal $signal" : $status == 0 ? 'reached' : "errno $status", "\n";
}

# -- mounts and namespaces
sub mounted {
  my ($type, $options) = @_;
  return 0 if !call('mount', [$EBUSY], 'none', $scratch, $type, 0, $options);
  syscall($number{umount2}[$arm], $scratch, 2);
  return 1;
}
attempt('mount a file system', sub { mounted('tmpfs', 0) });
attempt('mount a cgroup tree for its release_agent', sub { mounted('cgroup', 'pids') });
attempt('mount the tree of disks', sub { mounted('devtmpfs', 0) });
attempt('mount procfs again', sub { mounted('proc', 0) });
attempt('make /proc/sys writable', sub { call('mount', [$EINVAL], 'none', '/proc/sys', 0, 4096 | 32, 0) });
attempt('unmount what masks', sub { call('umount2', [$EINVAL], '/proc/sys', 2) });
attempt('open a file system by the new calls', sub { call('fsopen', [], 'tmpfs', 0) });
attempt('clone the mount tree', sub { call('open_tree', [], -100, '/', 1) });
attempt('change the attributes of a mount', sub { call('mount_setattr', [$EINVAL], -100, '/', 0, "\0" x 32, 32) });
attempt('pivot the root', sub { call('pivot_root', [$EBUSY, $EINVAL], '/', '/') });
attempt('unshare a user namespace', sub { call('unshare', [], $NEWUSER) });
attempt('unshare a mount namespace', sub { call('unshare', [], $NEWNS) });
attempt('clone into a user namespace', sub {
  my $pid = syscall($number{clone}[$arm], $NEWUSER | 17, 0, 0, 0, 0);
  kill(9, $$) if $pid == 0;
  $pid > 0;
});
attempt('clone3 into a user namespace', sub {
  my $pid = syscall(435, pack('Q11', $NEWUSER, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88);
  kill(9, $$) if $pid == 0;
  $pid > 0;
});
attempt('enter a namespace', sub { sysopen(my $f, '/proc/self/ns/uts', $RDONLY); call('setns', [], fileno($f), 0) });

# -- other processes
attempt('signal a process of the host', sub { call('kill', [], $victim + 0, 0) });
attempt('trace a process of the host', sub { call('ptrace', [], 0x4206, $victim + 0, 0, 0) });
attempt('read memory of a process of the host', sub {
  my $vector = pack('QQ', 0, 1);
  call('process_vm_readv', [$EFAULT], $victim + 0, $vector, 1, $vector, 1, 0);
});
attempt('hold a process of the host', sub { call('pidfd_open', [], $victim + 0, 0) });
attempt('compare with a process of the host', sub { call('kcmp', [], $$ + 0, $victim + 0, 1, 0, 0) });
attempt('enter the root of a process of the host', sub { opened("/proc/$victim/root/etc/hostname", $RDONLY) });
attempt('read the environment of a process of the host', sub { opened("/proc/$victim/environ", $RDONLY) });

# -- parts of the kernel
attempt('load a program into the kernel (bpf)', sub { call('bpf', [], 0, pack('L4 x120', 2, 4, 4, 1), 128) });
attempt('count events (perf)', sub { call('perf_event_open', [], pack('LLQ x112', 1, 128, 0), 0, -1, -1, 0) });
attempt('handle page faults (userfaultfd)', sub { call('userfaultfd', [], 0) });
attempt('queue requests (io_uring)', sub { call('io_uring_setup', [], 1, "\0" x 120) });
attempt('add a key', sub { call('add_key', [], 'user', 'berth-attack', 'x', 1, -2) });
attempt('ask for a key', sub { call('request_key', [$ENOKEY], 'user', 'berth-absent', 0, 0) });
attempt('read a keyring', sub { call('keyctl', [], 0, -4, 1) });
attempt('load a module', sub { call('init_module', [$ENOEXEC], 'x', 1, '') });
attempt('load a module from a file', sub {
  sysopen(my $f, '/etc/passwd', $RDONLY);
  call('finit_module', [$ENOEXEC], fileno($f), '', 0);
});
attempt('remove a module', sub { call('delete_module', [$ENOENT], 'berth_absent', 0) });
attempt('load another kernel', sub { call('kexec_load', [$EINVAL], 0, 100000, 0, 0) });
attempt('reboot', sub { call('reboot', [$EINVAL], 0, 0, 0, 0) });
attempt('set the time zone of the kernel', sub { call('settimeofday', [], 0, "\0" x 8) });
attempt('set the clock', sub { call('clock_settime', [$EINVAL], 0, pack('qq', 0, 10_000_000_000)) });
attempt('adjust the clock', sub { call('adjtimex', [$EINVAL], pack('L x84 q x112', 0x4000, 1)) });
attempt('read the log of the kernel', sub { my $text = "\0" x 64; call('syslog', [], 3, $text, 64) });
attempt('swap to a file', sub { call('swapon', [$ENOENT], '/berth-absent', 0) });
attempt('account for processes', sub { call('acct', [$ENOENT], '/berth-absent') });
attempt('open all ports of the machine', sub { call('iopl', [], 3) });
attempt('open one port of the machine', sub { call('ioperm', [], 0x80, 1, 1) });
attempt('watch the whole file system', sub { call('fanotify_init', [], 0, 0) });
attempt('open a file by its handle', sub {
  sysopen(my $root, '/', $RDONLY);
  call('open_by_handle_at', [$ESTALE], fileno($root), pack('LlLL', 8, 1, 2, 0), 0);
});
attempt('set the host name', sub { call('sethostname', [], 'attack', 6) });
attempt('turn off address randomisation', sub { call('personality', [], 0x0040000) });
attempt('run before everything else', sub { call('setscheduler', [], 0, 1, pack('l', 1)) });

# -- devices and files
attempt('make a block device', sub { call('mknodat', [], -100, "$scratch/disk", 0060600, 0x800) && unlink("$scratch/disk") });
attempt('make the memory device', sub { call('mknodat', [], -100, "$scratch/mem", 0020600, 0x101) && unlink("$scratch/mem") });
attempt('set an attribute of overlayfs', sub {
  sysopen(my $f, "$scratch/attribute", 0102);
  my $reached = call('setxattr', [], "$scratch/attribute", 'trusted.overlay.opaque', 'y', 1, 0);
  my $errno = $! + 0;
  unlink("$scratch/attribute");
  $! = $errno;
  $reached;
});
attempt('make a file that the host cannot delete', sub {
  sysopen(my $f, "$scratch/immutable", 0102);
  my $flags = pack('l', 0x10);    # FS_IMMUTABLE_FL
  my $reached = ioctl($f, 0x40086602, $flags);
  my $errno = $! + 0;
  my $none = pack('l', 0);
  ioctl($f, 0x40086602, $none) if $reached;
  unlink("$scratch/immutable");
  $! = $errno;
  $reached;
});
attempt("write $_", sub { opened($_, $WRONLY) }) for qw(
  /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/vm/overcommit_memory
  /proc/sys/fs/binfmt_misc/register /proc/irq/default_smp_affinity /sys/kernel/uevent_helper
  /sys/kernel/mm/transparent_hugepage/enabled /sys/block/loop0/queue/read_ahead_kb /sys/kernel/profiling
);
attempt("read $_", sub { opened($_, $RDONLY) }) for qw(
  /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/kpagecount /proc/vmallocinfo
  /dev/mem /dev/kmsg /dev/sda /dev/vda /dev/loop0 /dev/port
);
attempt("open $_", sub { opened($_, $RDWR) }) for qw(/dev/kvm /dev/net/tun /dev/vhost-net /dev/fuse /dev/loop-control);
sub cgroups {
  opendir(my $d, '/sys/fs/cgroup') or return;
  return map { "/sys/fs/cgroup/$_" } grep { !/^\.\.$/ } readdir($d);
}
attempt('make a cgroup', sub {
  for my $tree (cgroups()) { return rmdir("$tree/berth-attack") if mkdir("$tree/berth-attack") }
  0;
});
my %limits = (
  memory => ['memory.limit_in_bytes', 'memory.max'], processes => ['pids.max'], 'processor time' => ['cpu.cfs_quota_us', 'cpu.max'],
  processors => ['cpuset.cpus'], disks => ['blkio.throttle.write_bps_device', 'io.max'],
);
for my $what (sort keys %limits) {
  attempt("raise its limit of $what", sub {
    for my $tree (cgroups()) { for my $file (@{$limits{$what}}) { return 1 if opened("$tree/$file", $WRONLY) } }
    0;
  });
}
attempt('write a release_agent', sub {
  for my $tree (cgroups()) { return 1 if opened("$tree/release_agent", $WRONLY) }
  0;
});

# -- sockets that no network namespace parts
sub socketed { call('socket', [], @_) }
attempt('a raw socket', sub { socketed(2, 3, 1) });
attempt('a packet socket', sub { socketed(17, 3, 0) });
attempt('a socket to the hypervisor (vsock)', sub { socketed(40, 1, 0) });
attempt('a socket to the kernel’s ciphers (alg)', sub { socketed(38, 5, 0) });
attempt('read the state of the audit log', sub {
  socket(my $log, 16, 3, 9) or return 0;
  # AUDIT_GET with NLM_F_REQUEST | NLM_F_ACK; a refusal comes as NLMSG_ERROR with a negative errno.
  send($log, pack('LSSLL', 16, 1000, 5, 1, 0), 0, pack('SSLL', 16, 0, 0, 0)) or return 0;
  recv($log, my $answer, 4096, 0);
  my ($length, $type, $flags, $sequence, $port, $error) = unpack('LSSLLl', $answer);
  $! = $type == 2 ? -$error : 0;
  $type != 2 || $error == 0;
});
