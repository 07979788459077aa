/*
 * The first process of a microVM. It runs one image's entry point on a kernel of its own, as a container runtime would on
 * the host's:
 *
 *   modules -> ports -> configuration disk -> root (read-only image below a writable layer) -> network -> entry point
 *           -> loop (output to the log, commands of the host, children) -> how it ended to the host -> power off
 *
 * machine.c  modules, disks, mounts          process.c  users, capabilities, what is executed
 * network.c  interfaces and the default way  channel.c  frames of the host, programs it runs beside the entry point
 * config.c   what the host says              file.c     files between the host and here
 * secrets.c  files in memory                 processes.c   what runs here
 * init.c     the order of it all, and the loop   tend.c  a first process beside a program that is none
 *
 * Called with `-- PROGRAM ARGUMENTS…` it is none of that, but the first process of a container: it runs the program, hands signals
 * on to it, reaps, and ends with it (tend.c). A microVM whose configuration says `init` has the same beside its entry point.
 *
 * Nothing here trusts the guest's programs, and the host trusts nothing that comes from here: all that this process can
 * do wrong is done inside one machine. A fault before the entry point runs is told to the host in words and ends the machine.
 */
#ifndef BERTH_GUEST_H
#define BERTH_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_NICS 8
#define MAX_GROUPS 64
#define MAX_SECRETS 32
#define WORDS_MAX 512

/* A list of strings that ends with NULL, as execve(2) takes it. */
struct strings {
  char **items;
  size_t count;
};

struct nic {
  uint8_t mac[6];
  uint32_t address, netmask, gateway; /* network byte order; gateway 0: not the way out */
  struct in6_addr address6, gateway6; /* all zeros: none; not the way out */
  unsigned prefix6;
};

/* A file in memory: its value is in hexadecimal. */
struct secret {
  const char *path;
  char *value;
  mode_t mode;
  uid_t uid;
  gid_t gid;
};

struct config {
  struct strings args, env;
  const char *cwd, *user, *hostname, *hosts, *resolv;
  bool init;
  int stop_signal;
  struct nic nics[MAX_NICS];
  size_t nic_count;
  struct secret secrets[MAX_SECRETS];
  size_t secret_count;
};

/* What a program runs as. */
struct account {
  uid_t uid;
  gid_t gid;
  gid_t groups[MAX_GROUPS];
  size_t group_count;
  char home[256];
};

/* A program to run: of the entry point, or beside it. */
struct program {
  struct strings args, env;
  const char *cwd, *user;
  bool init; /* it is to have a first process beside it */
  bool tty;
  unsigned short columns, rows;
  /* Instead of a program: a file to read, or to write with this mode. */
  const char *get, *put;
  /* The file to write is one of /run/secrets, and belongs to these. */
  bool secret;
  uid_t secret_uid;
  gid_t secret_gid;
  /* Instead of a program: what runs here is to be listed. */
  bool list;
  mode_t mode;
};

/* init.c */
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));
int write_all(int fd, const void *bytes, size_t count);
void *must(void *allocated);
/* The kernel counted an out-of-memory kill since the last call. */
bool oom_killed(void);

/* config.c */
void strings_add(struct strings *list, const char *text);
/* Reads `key=value` fields that each end with NUL. `take` is called for each. False when the text is cut short. */
bool fields(char *text, size_t length, void (*take)(void *to, const char *key, char *value), void *to);
void config_read(const char *device, struct config *config);
/* `NAME=value` of a list of such, or NULL. */
const char *env_get(const struct strings *env, const char *name);
/* Adds one, or puts it in the place of the one of this name. */
void env_put(struct strings *env, const char *entry);
void program_field(void *program, const char *key, char *value);

/* machine.c */
void early_mounts(void);
void modules_load(void);
/* Path of the block device with this serial number. Waits a while for it. */
const char *disk_of(const char *serial, char *path, size_t size);
/* Opens the port of this name. Waits a while for it. */
int port_open(const char *name, int flags);
/* Makes the image's root the root of this process. */
void root_enter(const struct config *config);
/* What was written is on the disk, and the file system needs no recovery. Nothing can be written after it. */
void root_settle(void);

/* Makes a directory, unless it is there. */
void make_dir(const char *path, mode_t mode);
void must_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data);
/* A detached, read-only mount of what lies at a path, to be put over the image's own after the root was entered. */
int tree_detach(const char *path);
/* Puts such a mount of a file there, and makes the file where the image has none. */
void file_place(int tree, const char *path);

/* secrets.c */
/* Writes them to memory; before the root is entered, so that nothing in it can write there. */
void secrets_lay(const struct config *config);
/* Puts them where they are wanted in the root that was entered. */
void secrets_place(const struct config *config);
/* Goes to where those of /run/secrets can be replaced. False where there are none. */
bool secrets_enter(void);

/* network.c */
void network_up(const struct config *config);

/* process.c */
/* Looks a user up in the image's /etc/passwd and /etc/group. Returns NULL, or what is wrong. */
const char *account_of(const char *wanted, struct account *account);
/* Becomes the program; on failure writes why to `words` and ends. Standard descriptors are set already. */
_Noreturn void program_run(const struct program *program, const struct account *account, int words);

/* Executes the program, which is looked up in its PATH; on failure writes why to `words` and ends. */
_Noreturn void program_execute(const struct program *program, int words);

/* tend.c */
/* Returns in a child, which is to execute a program; this process stays, hands signals on, reaps, and ends with that one. */
void program_tend(int words);
_Noreturn void tend_main(char **args);

/* file.c */
/* Copies the file that the request names and ends; what keeps it from beginning is written to `words`. */
_Noreturn void file_copy(const struct program *program, int words);

/* processes.c */
/* Lists what runs here and ends; what keeps it from beginning is written to `words`. */
_Noreturn void processes_list(int words);

/* channel.c */
void channel_open(int port);
/* Whether the loop is to poll the port for writing. */
bool channel_wants_write(void);
void channel_readable(void);
void channel_writable(void);
/* Descriptors of execs to poll, at most `max`; `channel_ready` is called for those on which something happened. */
struct pollfd;
size_t channel_poll(struct pollfd *to, size_t max);
void channel_ready(const struct pollfd *fds, size_t count);
/* Milliseconds until something is due, or -1. */
int channel_due(void);
/* A child ended. */
void channel_reaped(pid_t pid, int status);

/* init.c, for the channel */
void entry_stop(void);
/* Forks into the pid namespace of the entry point. */
pid_t entry_fork(void);
/* Its pid namespace takes no more processes. */
bool entry_ending(void);

#endif
