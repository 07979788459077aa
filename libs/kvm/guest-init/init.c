#define _GNU_SOURCE
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Three ports lead to the host: `berth.log` to the file that keeps the output, `berth.exit` to the file that says how the
 * entry point ended, `berth.host` to the agent. The first two are files of QEMU's: they need nobody who listens.
 */
static int log_port = -1, exit_port = -1;
static struct config config;
static pid_t entry;
static int entry_fd = -1;
static bool asked;
static unsigned long long oom_before;

const struct config *the_config(void)
{
  return &config;
}

void channel_signalled(void);

_Noreturn static void power_off(void)
{
  kill(-1, SIGKILL);
  while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) continue;
  root_settle();
  reboot(RB_POWER_OFF);
  for (;;) pause();
}

/* One line in the file that the host reads once the machine is off. */
static void say_end(const char *words)
{
  if (exit_port >= 0) write_all(exit_port, words, strlen(words));
  if (exit_port >= 0) write_all(exit_port, "\n", 1);
}

_Noreturn void give_up(const char *format, ...)
{
  char words[600];
  int why = errno;
  va_list arguments;
  va_start(arguments, format);
  int at = snprintf(words, sizeof words, "failed ");
  errno = why;
  vsnprintf(words + at, sizeof words - (size_t)at, format, arguments);
  va_end(arguments);
  words[strcspn(words, "\n")] = 0;
  say_end(words);
  power_off();
}

void *must(void *allocated)
{
  if (allocated == NULL) give_up("the machine has not enough memory");
  return allocated;
}

int write_all(int fd, const void *bytes, size_t count)
{
  const char *at = bytes;
  while (count > 0) {
    ssize_t took = write(fd, at, count);
    if (took < 0 && errno == EINTR) continue;
    if (took <= 0) return -1;
    at += took;
    count -= (size_t)took;
  }
  return 0;
}

static unsigned long long oom_kills(void)
{
  char line[128];
  unsigned long long kills = 0;
  FILE *file = fopen("/proc/vmstat", "re");
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (sscanf(line, "oom_kill %llu", &kills) == 1) break;
  if (file != NULL) fclose(file);
  return kills;
}

bool oom_killed(void)
{
  return oom_kills() > oom_before;
}

void entry_stop(void)
{
  if (!asked && entry > 0) kill(entry, config.stop_signal);
  asked = true;
}

pid_t entry_fork(void)
{
  if (setns(entry_fd, CLONE_NEWPID) != 0) return -1;
  return fork();
}

bool entry_ending(void)
{
  pid_t probe = entry_fork();
  if (probe == 0) _exit(0);
  return probe < 0;
}

static void sysctl(const char *path, const char *value)
{
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd >= 0) write_all(fd, value, strlen(value));
  if (fd >= 0) close(fd);
}

/* In the child, which is the first process of a pid namespace, as the entry point of a container is. */
_Noreturn static void entry_child(const struct account *account, const int output[2], int words)
{
  struct program program = {
    .args = config.args, .env = config.env, .cwd = config.cwd, .user = config.user, .init = config.init};
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL) != 0) {
    dprintf(words, "/proc cannot be mounted: %m");
    _exit(127);
  }
  /* Pings without NET_RAW for everybody, and all ports: they are its own. */
  sysctl("/proc/sys/net/ipv4/ping_group_range", "0 65535");
  sysctl("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
  setsid();
  int null = open("/dev/null", O_RDONLY);
  if (null < 0 || dup2(null, 0) < 0 || dup2(output[0], 1) < 0 || dup2(output[1], 2) < 0) _exit(127);
  program_run(&program, account, words);
}

/* Starts the entry point; its output comes by the two descriptors. */
static void entry_begin(int output[2])
{
  struct account account;
  char said[512] = "";
  int out[2], err[2], words[2];
  const char *wrong = account_of(config.user, &account);
  if (wrong != NULL) give_up("%s", wrong);
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 || pipe2(words, O_CLOEXEC) != 0)
    give_up("there are no pipes: %m");
  struct clone_args args = {.flags = CLONE_NEWPID | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&entry_fd,
                            .exit_signal = SIGCHLD};
  entry = (pid_t)syscall(SYS_clone3, &args, sizeof args);
  if (entry < 0) give_up("the entry point cannot be started: %m");
  if (entry == 0) entry_child(&account, (int[]){out[1], err[1]}, words[1]);
  close(out[1]);
  close(err[1]);
  close(words[1]);
  /* Until the program was executed, which closes the pipe, or was not, which is said. */
  size_t have = 0;
  for (ssize_t got; have < sizeof said - 1 && (got = read(words[0], said + have, sizeof said - 1 - have)) > 0;)
    have += (size_t)got;
  close(words[0]);
  if (have > 0) give_up("%s", said);
  output[0] = out[0];
  output[1] = err[0];
  oom_before = oom_kills();
}

/* False when it has ended. */
static bool output_copy(int fd)
{
  char bytes[16384];
  ssize_t got = read(fd, bytes, sizeof bytes);
  if (got > 0) write_all(log_port, bytes, (size_t)got);
  return got > 0 || (got < 0 && errno == EINTR);
}

/* What is left in a pipe whose writers are gone, or are to be gone with the entry point. */
static void output_rest(int fd)
{
  if (fd < 0) return;
  fcntl(fd, F_SETFL, O_NONBLOCK);
  while (output_copy(fd)) continue;
}

_Noreturn static void entry_over(int status, const int output[2])
{
  char words[64];
  output_rest(output[0]);
  output_rest(output[1]);
  /* The first process beside it cannot die of the signal that it died of: it says it as a shell does. */
  int said = config.init && WIFEXITED(status) ? WEXITSTATUS(status) - 128 : 0;
  if (said > 0 && said < SIGRTMAX) status = said; /* as wait(2) has it */
  if (!WIFSIGNALED(status)) snprintf(words, sizeof words, "exited %d", WEXITSTATUS(status));
  else
    snprintf(words, sizeof words, "%s %d", WTERMSIG(status) == SIGKILL && oom_killed() ? "oomKilled" : "signalled",
             WTERMSIG(status));
  say_end(words);
  power_off();
}

static void children_reap(const int output[2])
{
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
    if (pid == entry) entry_over(status, output);
    else channel_reaped(pid, status);
}

_Noreturn static void loop(int signals, int output[2])
{
  struct pollfd fds[256];
  for (;;) {
    fds[0] = (struct pollfd){signals, POLLIN, 0};
    fds[1] = (struct pollfd){output[0], POLLIN, 0}; /* a negative one is left out by poll(2) */
    fds[2] = (struct pollfd){output[1], POLLIN, 0};
    size_t count = channel_poll(fds + 3, 253);
    if (poll(fds, 3 + count, channel_due()) < 0 && errno != EINTR) give_up("poll: %m");
    for (int i = 0; i < 2; i++)
      if (fds[1 + i].revents != 0 && !output_copy(output[i])) {
        close(output[i]);
        output[i] = -1;
      }
    struct signalfd_siginfo info;
    bool child = false, port = false;
    while (fds[0].revents != 0 && read(signals, &info, sizeof info) == sizeof info) {
      child |= info.ssi_signo == SIGCHLD;
      port |= info.ssi_signo == SIGIO;
    }
    if (child) children_reap(output);
    channel_ready(fds + 3, count);
    if (port) channel_signalled();
  }
}

int main(int argc, char **argv)
{
  if (argc > 2 && strcmp(argv[1], "--") == 0) tend_main(argv + 2);
  sigset_t mine;
  int output[2];
  early_mounts();
  modules_load();
  exit_port = port_open("berth.exit", O_WRONLY);
  log_port = port_open("berth.log", O_WRONLY);
  int host = port_open("berth.host", O_RDWR);
  char device[64];
  config_read(disk_of("berth-config", device, sizeof device), &config);
  network_up(&config);
  root_enter(&config);
  sigemptyset(&mine);
  sigaddset(&mine, SIGCHLD);
  sigaddset(&mine, SIGIO);
  sigprocmask(SIG_BLOCK, &mine, NULL);
  signal(SIGPIPE, SIG_IGN);
  int signals = signalfd(-1, &mine, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) give_up("signalfd: %m");
  channel_open(host);
  entry_begin(output);
  loop(signals, output);
}
