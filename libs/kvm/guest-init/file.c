#define _GNU_SOURCE
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * One file between the machine and the host, in the place of a program beside the entry point. libs/kvm/src/microvm/microvm-files.ts
 * is the other end.
 *
 *   get   output: its size, eight bytes (little endian), and its bytes
 *   put   input: pieces, each with its size before it, four bytes (little endian); one of size 0 says that it is whole. Without that one,
 *         which an end in between never brings, what was there stays
 */
#define PIECE 65536

static char part[4200];

static void part_remove(int signal)
{
  (void)signal;
  unlink(part);
  _exit(1);
}

/* Before the host is told that it began, to `words`; afterwards as error output. */
_Noreturn static void refuse(int words, const char *what, const char *path)
{
  dprintf(words, "%s %s: %m", what, path);
  if (part[0] != 0) unlink(part);
  _exit(1);
}

_Noreturn static void file_get(const char *path, int words)
{
  static char bytes[PIECE];
  struct stat seen;
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &seen) != 0) refuse(words, "cannot open", path);
  if (!S_ISREG(seen.st_mode)) {
    dprintf(words, "%s is no regular file", path);
    _exit(1);
  }
  close(words);
  uint8_t size[8];
  for (int i = 0; i < 8; i++) size[i] = (uint8_t)((uint64_t)seen.st_size >> (8 * i));
  ssize_t got = write_all(1, size, sizeof size);
  while (got == 0 && (got = read(fd, bytes, sizeof bytes)) > 0) got = write_all(1, bytes, (size_t)got);
  if (got < 0) refuse(2, "cannot read", path);
  _exit(0);
}

static bool input_read(void *to, size_t size)
{
  for (size_t have = 0; have < size;) {
    ssize_t got = read(0, (char *)to + have, size - have);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    have += (size_t)got;
  }
  return true;
}

_Noreturn static void file_put(const struct program *program, int words)
{
  const char *path = program->put;
  static char bytes[PIECE];
  uint8_t head[4];
  const char *name = strrchr(path, '/');
  if (name == NULL || strlen(path) > 4096) {
    dprintf(words, "%s is no absolute path", path);
    _exit(1);
  }
  /* Those who look into the directory of secrets see none that is half there. */
  if (program->secret) snprintf(part, sizeof part, "../%d.part", (int)getpid());
  else snprintf(part, sizeof part, "%.*s.berth-%d.part", (int)(name + 1 - path), path, (int)getpid());
  int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) {
    part[0] = 0;
    refuse(words, "cannot write", path);
  }
  signal(SIGHUP, part_remove);
  signal(SIGTERM, part_remove);
  if (program->secret && fchown(fd, program->secret_uid, program->secret_gid) != 0)
    refuse(words, "cannot write", path);
  if (fchmod(fd, program->mode) != 0) refuse(words, "cannot write", path);
  close(words);
  for (;;) {
    if (!input_read(head, sizeof head)) part_remove(0);
    size_t left = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
    if (left == 0) break;
    while (left > 0) {
      size_t size = left < sizeof bytes ? left : sizeof bytes;
      if (!input_read(bytes, size)) part_remove(0);
      if (write_all(fd, bytes, size) != 0) refuse(2, "cannot write", path);
      left -= size;
    }
  }
  if (fsync(fd) != 0 || rename(part, path) != 0) refuse(2, "cannot write", path);
  _exit(0);
}

_Noreturn void file_copy(const struct program *program, int words)
{
  if (program->get != NULL) file_get(program->get, words);
  if (program->secret && !secrets_enter()) {
    dprintf(words, "the machine has no secrets");
    _exit(1);
  }
  file_put(program, words);
}
