#define _GNU_SOURCE
#include "guest.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the kernel raises for a fault of this process itself is never blocked: nobody else is to blame for it. */
static const int own_faults[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};

/* Reaps all that ended; ends with the program, as a shell tells of its end: 128 + n after signal n. */
static void reap(pid_t program)
{
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
    if (pid == program) _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

/* Signals are blocked, so that none is lost, and none is left out because this is pid 1. */
_Noreturn static void hand_on(pid_t program, const sigset_t *all)
{
  for (;;) {
    siginfo_t info;
    int signal = sigwaitinfo(all, &info);
    reap(program); /* also what ended while this process was stopped: signals of one kind are counted once */
    /* A terminal sends the last two to who is in the background, which is this process alone. */
    if (signal > 0 && signal != SIGCHLD && signal != SIGTTIN && signal != SIGTTOU) kill(program, signal);
  }
}

void program_tend(int words)
{
  sigset_t all, before;
  sigfillset(&all);
  for (size_t i = 0; i < sizeof own_faults / sizeof *own_faults; i++) sigdelset(&all, own_faults[i]);
  sigprocmask(SIG_SETMASK, &all, &before);
  pid_t program = fork();
  if (program < 0) {
    dprintf(words, "the program cannot be started: %m");
    _exit(127);
  }
  if (program > 0) {
    if (words > 2) close(words); /* the program's alone: its end says that it runs */
    hand_on(program, &all);
  }
  /* A group of its own, in the foreground of its terminal: what is typed there is for it. */
  setpgid(0, 0);
  if (isatty(0)) tcsetpgrp(0, getpid()); /* SIGTTOU is blocked yet */
  sigprocmask(SIG_SETMASK, &before, NULL);
}

_Noreturn void tend_main(char **args)
{
  extern char **environ;
  struct program program = {.cwd = "/", .user = ""};
  for (; *args != NULL; args++) strings_add(&program.args, *args);
  for (char **entry = environ; *entry != NULL; entry++) strings_add(&program.env, *entry);
  program_tend(2);
  program_execute(&program, 2);
}
