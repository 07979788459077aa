#define _GNU_SOURCE
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * Secrets are in memory alone. The file system that holds them stays where the image's programs cannot come, below the root that they
 * see; what they see is mounted read-only:
 *
 *   /secrets/run     as /run/secrets; its files are replaced while the machine runs, each at once
 *   /secrets/files   those that are elsewhere, each mounted by itself
 *
 * libs/kvm/src/microvm/microvm-secrets.ts is the other end.
 */
#define DIRECTORY "/run/secrets/"

static int run_fd = -1;
static int run_tree = -1;
static int file_trees[MAX_SECRETS];

static bool in_directory(const struct secret *secret)
{
  return strncmp(secret->path, DIRECTORY, strlen(DIRECTORY)) == 0;
}

static int digit(char c)
{
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place, and the hexadecimal is gone then. Returns how many bytes. */
static size_t decoded(char *text)
{
  size_t count = 0;
  size_t length = strlen(text);
  for (size_t at = 0; at + 1 < length; at += 2, count++) {
    int high = digit(text[at]), low = digit(text[at + 1]);
    if (high < 0 || low < 0) give_up("the configuration has a secret that makes no sense");
    text[count] = (char)(high << 4 | low);
  }
  memset(text + count, 0, length - count);
  return count;
}

static void file_write(const char *path, const struct secret *secret)
{
  size_t size = decoded(secret->value);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 || write_all(fd, secret->value, size) != 0 || fchown(fd, secret->uid, secret->gid) != 0 ||
      fchmod(fd, secret->mode) != 0 || close(fd) != 0)
    give_up("a secret cannot be written: %m");
  memset(secret->value, 0, size);
}

void secrets_lay(const struct config *config)
{
  char path[400];
  bool some = false;
  if (config->secret_count == 0) return;
  must_mount("tmpfs", "/secrets", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700,size=8m");
  make_dir("/secrets/run", 0755);
  make_dir("/secrets/files", 0700);
  for (size_t i = 0; i < config->secret_count; i++) {
    const struct secret *secret = &config->secrets[i];
    if (in_directory(secret)) snprintf(path, sizeof path, "/secrets/run/%s", secret->path + strlen(DIRECTORY));
    else snprintf(path, sizeof path, "/secrets/files/%zu", i);
    file_write(path, secret);
    some |= in_directory(secret);
    file_trees[i] = in_directory(secret) ? -1 : tree_detach(path);
  }
  if (!some) return;
  run_tree = tree_detach("/secrets/run");
  run_fd = open("/secrets/run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (run_fd < 0) give_up("/secrets/run cannot be opened: %m");
}

/* All directories above a path, and the path itself where it is one. */
static void directories_make(const char *path, bool itself)
{
  char part[4096];
  for (size_t at = 1; at <= strlen(path) && at < sizeof part; at++)
    if (path[at] == '/' || (path[at] == 0 && itself)) {
      snprintf(part, at + 1, "%s", path);
      make_dir(part, 0755);
    }
}

void secrets_place(const struct config *config)
{
  if (run_tree >= 0) {
    directories_make("/run/secrets", true);
    if (syscall(SYS_move_mount, run_tree, "", AT_FDCWD, "/run/secrets", MOVE_MOUNT_F_EMPTY_PATH) != 0)
      give_up("/run/secrets of the image is no directory: %m");
    close(run_tree);
  }
  for (size_t i = 0; i < config->secret_count; i++) {
    if (in_directory(&config->secrets[i])) continue;
    directories_make(config->secrets[i].path, false);
    file_place(file_trees[i], config->secrets[i].path);
  }
}

bool secrets_enter(void)
{
  return run_fd >= 0 && fchdir(run_fd) == 0;
}
