#define _GNU_SOURCE
#include "guest.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * What runs in the machine, in the place of a program beside the entry point. libs/kvm/src/microvm/microvm-processes.ts is the other
 * end. Output: records, each `<name> <size>`, a newline and so many bytes: uptime and passwd, then stat, status and cmdline of each
 * process, as proc(5) has them.
 */
#define RECORD_MAX 65536

/* False where there is no such file. It may be a guest's: not a pipe, nor a device, nor without end. */
static bool record(const char *name, const char *path)
{
  static char bytes[RECORD_MAX];
  struct stat seen;
  size_t have = 0;
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return false;
  if (fstat(fd, &seen) == 0 && S_ISREG(seen.st_mode))
    for (ssize_t got; have < sizeof bytes && (got = read(fd, bytes + have, sizeof bytes - have)) > 0;) have += (size_t)got;
  close(fd);
  if (dprintf(1, "%s %zu\n", name, have) < 0 || write_all(1, bytes, have) != 0) _exit(1);
  return true;
}

_Noreturn void processes_list(int words)
{
  char path[300];
  struct dirent *entry;
  DIR *proc = opendir("/proc");
  if (proc == NULL) {
    dprintf(words, "/proc cannot be read: %m");
    _exit(1);
  }
  close(words);
  record("uptime", "/proc/uptime");
  record("passwd", "/etc/passwd");
  while ((entry = readdir(proc)) != NULL) {
    if (!isdigit((unsigned char)entry->d_name[0]) || atoi(entry->d_name) == (int)getpid()) continue;
    snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
    if (!record("stat", path)) continue; /* it has ended */
    snprintf(path, sizeof path, "/proc/%s/status", entry->d_name);
    record("status", path);
    snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
    record("cmdline", path);
  }
  _exit(0);
}
