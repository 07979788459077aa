#define _GNU_SOURCE
#include "guest.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* <linux/ext4.h> is no header for programs. */
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, __u64)
#define EXT4_BLOCK 4096

/* Devices appear a moment after their driver: looked for so often, 1 ms apart. */
#define LOOKS 5000

static int data_fd = -1;

void make_dir(const char *path, mode_t mode)
{
  if (mkdir(path, mode) != 0 && errno != EEXIST) give_up("%s cannot be made: %m", path);
}

void must_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
  make_dir(target, 0755);
  if (mount(source, target, type, flags, data) != 0) give_up("%s cannot be mounted on %s: %m", type, target);
}

void early_mounts(void)
{
  must_mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, NULL);
  must_mount("sysfs", "/sys", "sysfs", 0, NULL);
  must_mount("proc", "/proc", "proc", 0, NULL);
}

void modules_load(void)
{
  char line[256], path[300];
  FILE *list = fopen("/modules/list", "re");
  if (list == NULL) give_up("/modules/list cannot be read: %m");
  while (fgets(line, sizeof line, list) != NULL) {
    line[strcspn(line, "\n")] = 0;
    snprintf(path, sizeof path, "/modules/%s", line);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST))
      give_up("module %s cannot be loaded: %m", line);
    close(fd);
  }
  fclose(list);
}

static bool file_is(const char *path, const char *wanted)
{
  char text[128] = "";
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  if (got > 0 && text[got - 1] == '\n') text[got - 1] = 0;
  return got > 0 && strcmp(text, wanted) == 0;
}

/* The entry of a directory of /sys whose file says this; false when there is none yet. */
static bool entry_with(const char *directory, const char *file, const char *text, char *name, size_t size)
{
  char path[512];
  bool found = false;
  struct dirent *entry;
  DIR *dir = opendir(directory);
  if (dir == NULL) return false;
  while (!found && (entry = readdir(dir)) != NULL) {
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s/%s", directory, entry->d_name, file);
    found = file_is(path, text);
    if (found) snprintf(name, size, "/dev/%s", entry->d_name);
  }
  closedir(dir);
  return found;
}

static void wait_for(const char *directory, const char *file, const char *text, char *name, size_t size)
{
  for (int look = 0; look < LOOKS; look++) {
    if (entry_with(directory, file, text, name, size)) return;
    usleep(1000);
  }
  give_up("the machine has no device %s", text);
}

const char *disk_of(const char *serial, char *path, size_t size)
{
  wait_for("/sys/block", "serial", serial, path, size);
  return path;
}

int port_open(const char *name, int flags)
{
  char path[300];
  wait_for("/sys/class/virtio-ports", "name", name, path, sizeof path);
  int fd = open(path, flags | O_CLOEXEC);
  if (fd < 0) give_up("port %s cannot be opened: %m", name);
  return fd;
}

/* Makes the file system as large as its disk is now. */
static void data_grow(int mounted, const char *device)
{
  uint64_t bytes = 0;
  int disk = open(device, O_RDONLY | O_CLOEXEC);
  if (disk < 0 || ioctl(disk, BLKGETSIZE64, &bytes) != 0) give_up("the size of %s is not known: %m", device);
  close(disk);
  uint64_t blocks = bytes / EXT4_BLOCK;
  if (ioctl(mounted, EXT4_IOC_RESIZE_FS, &blocks) != 0) give_up("the root volume cannot be grown: %m");
}

/* As a container has it: six devices, terminals, shared memory; no disk, no port. */
static void devices_make(void)
{
  static const struct { const char *path; unsigned major, minor; } nodes[] = {
      {"/dev/null", 1, 3}, {"/dev/zero", 1, 5}, {"/dev/full", 1, 7},
      {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
  };
  static const struct { const char *target, *path; } links[] = {
      {"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
      {"/proc/self/fd/2", "/dev/stderr"}, {"pts/ptmx", "/dev/ptmx"},
  };
  must_mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
  for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
    if (mknod(nodes[i].path, S_IFCHR, makedev(nodes[i].major, nodes[i].minor)) != 0 ||
        chmod(nodes[i].path, 0666) != 0) /* whatever the umask: users write to /dev/null */
      give_up("%s cannot be made: %m", nodes[i].path);
  for (size_t i = 0; i < sizeof links / sizeof *links; i++)
    if (symlink(links[i].target, links[i].path) != 0) give_up("%s cannot be made: %m", links[i].path);
  const unsigned long guarded = MS_NOSUID | MS_NOEXEC | MS_NODEV;
  must_mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
  must_mount("shm", "/dev/shm", "tmpfs", guarded, "mode=1777,size=65536k");
  must_mount("mqueue", "/dev/mqueue", "mqueue", guarded, NULL);
}

/* One small file, detached. */
static int file_mount(const char *name, const char *text)
{
  char path[64];
  snprintf(path, sizeof path, "/identity/%s", name);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0 || fchmod(fd, 0644) != 0 || write_all(fd, text, strlen(text)) != 0 || close(fd) != 0)
    give_up("%s cannot be written: %m", path);
  return tree_detach(path);
}

int tree_detach(const char *path)
{
  int tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
  if (tree < 0 || syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr) != 0)
    give_up("%s cannot be mounted: %m", path);
  return tree;
}

void file_place(int tree, const char *path)
{
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
  if (fd >= 0) close(fd);
  if (syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) != 0)
    give_up("%s of the image has no place for a file: %m", path);
  close(tree);
}

void root_enter(const struct config *config)
{
  char root[64], data[64];
  disk_of("berth-root", root, sizeof root);
  disk_of("berth-data", data, sizeof data);
  must_mount(root, "/lower", "squashfs", MS_RDONLY | MS_NODEV, NULL);
  must_mount(data, "/data", "ext4", MS_NODEV | MS_NOATIME, NULL);
  data_fd = open("/data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (data_fd < 0) give_up("/data cannot be opened: %m");
  data_grow(data_fd, data);
  make_dir("/data/upper", 0755);
  make_dir("/data/work", 0700);
  /* Images are foreign: no attribute in them may redirect to another path, or lend another file's content. */
  must_mount("overlay", "/root", "overlay", MS_NODEV,
             "lowerdir=/lower,upperdir=/data/upper,workdir=/data/work,redirect_dir=nofollow,metacopy=off,index=off");
  char name[80];
  snprintf(name, sizeof name, "%s\n", config->hostname);
  must_mount("tmpfs", "/identity", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=1024k");
  int hostname = file_mount("hostname", name);
  int hosts = file_mount("hosts", config->hosts);
  int resolv = file_mount("resolv.conf", config->resolv);
  secrets_lay(config);
  /* Not only chroot: whoever leaves that again finds no other root behind it. */
  if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
    give_up("the root cannot be entered: %m");
  devices_make();
  must_mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL);
  make_dir("/proc", 0755);
  make_dir("/etc", 0755);
  file_place(hostname, "/etc/hostname");
  file_place(hosts, "/etc/hosts");
  file_place(resolv, "/etc/resolv.conf");
  secrets_place(config);
  if (sethostname(config->hostname, strlen(config->hostname)) != 0) give_up("the host name cannot be set: %m");
}

void root_settle(void)
{
  sync();
  /* Freezing empties the journal. It stays frozen: the machine is about to be turned off. */
  if (data_fd >= 0) ioctl(data_fd, FIFREEZE, 0);
}
