#define _GNU_SOURCE
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A container's, libs/containers/src/isolation/privileges.ts: what runs there has the same rights here. */
#define CAP(name) (1ull << CAP_##name)
static const uint64_t capabilities = CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) | CAP(KILL) |
                                     CAP(NET_BIND_SERVICE) | CAP(SETFCAP) | CAP(SETGID) | CAP(SETPCAP) | CAP(SETUID) |
                                     CAP(SYS_CHROOT);
#define FILES_SOFT 1024
#define FILES_HARD 1048576
/* A container's range of ids ends here: the same image must not work in one and fail in the other. */
#define ID_LIMIT 65536
#define ACCOUNTS_MAX (1 << 20)

/* A file of accounts as text, "" where there is none. Not a pipe, nor a device, nor without end. */
static char *file_text(const char *path)
{
  struct stat seen;
  char *text = must(calloc(1, ACCOUNTS_MAX + 1));
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return text;
  if (fstat(fd, &seen) == 0 && S_ISREG(seen.st_mode))
    for (size_t have = 0; have < ACCOUNTS_MAX;) {
      ssize_t got = read(fd, text + have, ACCOUNTS_MAX - have);
      if (got <= 0) break;
      have += (size_t)got;
    }
  close(fd);
  return text;
}

static bool numeric(const char *text)
{
  return *text != 0 && text[strspn(text, "0123456789")] == 0;
}

static bool id_of(const char *text, unsigned *id)
{
  *id = numeric(text) && strlen(text) < 10 ? (unsigned)strtoul(text, NULL, 10) : ID_LIMIT;
  return *id < ID_LIMIT;
}

/* Splits a line at its colons into at most 7 fields; the rest are "". */
static void split(char *line, const char *to[7])
{
  for (int i = 0; i < 7; i++) to[i] = line == NULL ? "" : strsep(&line, ":");
}

static bool listed(const char *names, const char *name)
{
  size_t length = strlen(name);
  for (const char *at = names; length > 0 && at != NULL; at = strchr(at, ','), at = at == NULL ? NULL : at + 1)
    if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == 0)) return true;
  return false;
}

static void group_add(struct account *account, const char *text)
{
  unsigned id;
  if (!id_of(text, &id) || id == account->gid || account->group_count == MAX_GROUPS) return;
  for (size_t i = 0; i < account->group_count; i++)
    if (account->groups[i] == id) return;
  account->groups[account->group_count++] = id;
}

/* `user[:group]`, names or numbers. A number needs no entry; without a group those of the entry are taken. */
const char *account_of(const char *wanted, struct account *account)
{
  static char wrong[256];
  char user[192] = "", group[192] = "", login[192] = "";
  unsigned id;
  *account = (struct account){.home = "/"};
  sscanf(wanted, "%191[^:]:%191[^\n]", user, group);
  if (*user == 0) strcpy(user, "0");
  bool found = false;
  char *passwd = file_text("/etc/passwd"), *rest = passwd, *line;
  const char *field[7];
  while (!found && (line = strsep(&rest, "\n")) != NULL) {
    if (*line == '#' || strchr(line, ':') == NULL) continue;
    split(line, field);
    found = strcmp(field[numeric(user) ? 2 : 0], user) == 0;
  }
  if (found) {
    snprintf(login, sizeof login, "%s", field[0]);
    if (field[5][0] == '/') snprintf(account->home, sizeof account->home, "%s", field[5]);
  }
  const char *uid = found ? field[2] : user, *gid = found ? field[3] : "0";
  wrong[0] = 0;
  if (!found && !numeric(user)) snprintf(wrong, sizeof wrong, "the image's /etc/passwd has no user \"%s\"", user);
  else if (!id_of(uid, &id)) snprintf(wrong, sizeof wrong, "\"%s\" is no id below %d", uid, ID_LIMIT);
  else account->uid = id;
  if (!wrong[0] && *group == 0) {
    if (!id_of(gid, &id)) snprintf(wrong, sizeof wrong, "\"%s\" is no id below %d", gid, ID_LIMIT);
    else account->gid = id;
  }
  char *groups = file_text("/etc/group");
  bool known = *group == 0;
  if (!known && numeric(group)) {
    known = true;
    if (!id_of(group, &id)) snprintf(wrong, sizeof wrong, "\"%s\" is no id below %d", group, ID_LIMIT);
    else account->gid = id;
  }
  rest = groups;
  while (!wrong[0] && (line = strsep(&rest, "\n")) != NULL) {
    if (*line == '#' || strchr(line, ':') == NULL) continue;
    split(line, field);
    if (*group == 0 && listed(field[3], login)) group_add(account, field[2]);
    if (!known && strcmp(field[0], group) == 0) {
      known = id_of(field[2], &id);
      account->gid = id;
    }
  }
  if (!wrong[0] && !known) snprintf(wrong, sizeof wrong, "the image's /etc/group has no group \"%s\"", group);
  free(passwd);
  free(groups);
  return wrong[0] ? wrong : NULL;
}

_Noreturn static void cannot(int words, const char *what, const char *name)
{
  dprintf(words, "%s %s: %m", what, name);
  _exit(127);
}

static void capabilities_keep(void)
{
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {0};
  for (int i = 0; i < 2; i++) data[i].effective = data[i].permitted = (uint32_t)(capabilities >> (32 * i));
  syscall(SYS_capset, &header, data);
}

/* The directory is made where it is missing, as an OCI runtime does. */
static void directory_enter(const char *path, int words)
{
  char part[4096];
  for (size_t at = 1; at <= strlen(path) && at < sizeof part; at++)
    if (path[at] == '/' || path[at] == 0) {
      snprintf(part, at + 1, "%s", path);
      if (mkdir(part, 0755) != 0 && errno != EEXIST) break;
    }
  if (chdir(path) != 0) cannot(words, "the working directory", path);
}

/* Looks a program up in PATH as execvp(3) does, but runs no file without a header by a shell. */
_Noreturn void program_execute(const struct program *program, int words)
{
  char *name = program->args.items[0];
  const char *path = env_get(&program->env, "PATH");
  int worst = ENOENT;
  if (strchr(name, '/') != NULL) {
    execve(name, program->args.items, program->env.items);
    cannot(words, "cannot run", name);
  }
  for (char *all = must(strdup(path == NULL ? "" : path)), *one; (one = strsep(&all, ":")) != NULL;) {
    char full[4096];
    snprintf(full, sizeof full, "%s/%s", *one == 0 ? "." : one, name);
    execve(full, program->args.items, program->env.items);
    if (errno != ENOENT && errno != ENOTDIR) worst = errno;
  }
  errno = worst;
  cannot(words, "cannot run", name);
}

_Noreturn void program_run(const struct program *program, const struct account *account, int words)
{
  struct program mine = *program;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
  umask(022);
  struct rlimit files = {FILES_SOFT, FILES_HARD}, core = {0, 0};
  setrlimit(RLIMIT_NOFILE, &files);
  setrlimit(RLIMIT_CORE, &core);
  if (env_get(&mine.env, "HOME") == NULL) {
    char home[300];
    snprintf(home, sizeof home, "HOME=%s", account->home);
    strings_add(&mine.env, home);
  }
  directory_enter(mine.cwd, words);
  for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
    if ((capabilities & (1ull << cap)) == 0) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
  if (setgroups(account->group_count, account->groups) != 0 || setgid(account->gid) != 0 || setuid(account->uid) != 0)
    cannot(words, "cannot become", mine.user);
  if (account->uid == 0) capabilities_keep();
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (mine.list) processes_list(words);
  if (mine.get != NULL || mine.put != NULL) file_copy(&mine, words);
  if (mine.init) program_tend(words);
  program_execute(&mine, words);
}
