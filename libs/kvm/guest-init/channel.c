#define _GNU_SOURCE
#include "guest.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * The host's commands and the programs it runs beside the entry point. libs/kvm/src/guest/frames.ts is the other end.
 *
 * A frame is a byte of kind, four of an exec's number (little endian) and a payload, made free of zeros by COBS
 * (Cheshire and Baker, 1999) and ended by one: after half a frame the next zero is a new beginning.
 *
 *   host:  H nonce   a conversation begins; all execs of an earlier one are ended
 *          S         asks the entry point to end
 *          x fields  a piece of an exec's request        X  begins it
 *          I bytes   input     E  its end     R columns rows  the size of its terminal
 *          C count   so many bytes more of output may come
 *          K         ends it
 *   guest: H nonce, S as answers; O bytes, F bytes  output, error output; C count  so much input was taken;
 *          Z words   how it ended: `exited 7`, `signalled 9`, `failed …`
 *
 * Neither side sends more than WINDOW bytes that the other has not taken, so one exec that nobody reads holds up no other.
 */
#define PAYLOAD_MAX 8192
#define FRAME_MAX (PAYLOAD_MAX + 5)
#define WINDOW 65536u
#define REQUEST_MAX (1u << 20)
#define EXECS_MAX 64
#define QUEUE_MAX (256u << 10)
#define GRACE_MS 2000

struct exec {
  bool used;
  uint32_t id;
  pid_t pid;      /* 0 before it runs, and once it was reaped */
  pid_t inner;    /* the same in the entry point's pid namespace: its session */
  int in, out, err;
  uint32_t credit;
  bool tty, input_ended, reaped;
  int status;
  char *request;
  size_t request_size;
  uint8_t input[WINDOW];
  size_t input_size;
  long long kill_at; /* 0: not being ended */
};

static int port = -1;
static bool hung;
static struct exec *execs[EXECS_MAX];
static uint8_t received[FRAME_MAX + FRAME_MAX / 254 + 2];
static size_t received_size;
static bool dropping;
static uint8_t *queue;
static size_t queue_size;
static const struct config *entry_config;

extern const struct config *the_config(void);

static long long now_ms(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void number_put(uint8_t *to, uint32_t value)
{
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t number_get(const uint8_t *from)
{
  return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/* Room for a frame of any size is there whenever the queue is below QUEUE_MAX. */
static void send_frame(uint8_t kind, uint32_t id, const void *payload, size_t size)
{
  uint8_t frame[FRAME_MAX] = {kind};
  if (hung || size > PAYLOAD_MAX) return;
  number_put(frame + 1, id);
  memcpy(frame + 5, payload, size);
  uint8_t *code = queue + queue_size, *to = code + 1;
  uint8_t run = 1;
  for (size_t i = 0; i < size + 5; i++) {
    if (frame[i] != 0) {
      *to++ = frame[i];
      run++;
    }
    if (frame[i] == 0 || run == 255) {
      *code = run;
      code = to++;
      run = 1;
    }
  }
  *code = run;
  *to++ = 0;
  queue_size = (size_t)(to - queue);
}

static void send_number(uint8_t kind, uint32_t id, uint32_t number)
{
  uint8_t bytes[4];
  number_put(bytes, number);
  send_frame(kind, id, bytes, sizeof bytes);
}

static void close_once(int *fd)
{
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static struct exec *exec_find(uint32_t id)
{
  for (int i = 0; i < EXECS_MAX; i++)
    if (execs[i] != NULL && execs[i]->id == id) return execs[i];
  return NULL;
}

static void exec_forget(struct exec *exec)
{
  for (int i = 0; i < EXECS_MAX; i++)
    if (execs[i] == exec) execs[i] = NULL;
  close_once(&exec->in);
  close_once(&exec->out);
  close_once(&exec->err);
  free(exec->request);
  free(exec);
}

static void exec_over(struct exec *exec, const char *words)
{
  send_frame('Z', exec->id, words, strlen(words));
  exec_forget(exec);
}

static struct exec *exec_new(uint32_t id)
{
  for (int i = 0; i < EXECS_MAX; i++)
    if (execs[i] == NULL) {
      struct exec *exec = execs[i] = must(calloc(1, sizeof *exec));
      *exec = (struct exec){.used = true, .id = id, .in = -1, .out = -1, .err = -1, .credit = WINDOW};
      return exec;
    }
  return NULL;
}

/* Signals all of a session: from inside the pid namespace, whose numbers /proc shows. */
static void session_signal(pid_t session, int signal_number)
{
  if (session <= 0 || entry_fork() != 0) return;
  DIR *proc = opendir("/proc");
  struct dirent *entry;
  while (proc != NULL && (entry = readdir(proc)) != NULL) {
    char path[300], text[512] = "";
    int pid = atoi(entry->d_name), of = 0;
    if (pid <= 0) continue;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    if (read(fd, text, sizeof text - 1) <= 0) text[0] = 0;
    close(fd);
    char *after = strrchr(text, ')'); /* the name before it may hold anything */
    if (after != NULL && sscanf(after, ") %*c %*d %*d %d", &of) == 1 && of == session) kill(pid, signal_number);
  }
  _exit(0);
}

static void exec_end(struct exec *exec)
{
  if (exec->kill_at != 0) return;
  if (exec->pid == 0) return exec_forget(exec);
  exec->kill_at = now_ms() + GRACE_MS;
  session_signal(exec->inner, SIGHUP);
}

static void all_end(void)
{
  for (int i = 0; i < EXECS_MAX; i++)
    if (execs[i] != NULL) {
      execs[i]->id = 0; /* its number belongs to the next conversation */
      exec_end(execs[i]);
    }
}

/* In the child: standard descriptors, a session of its own, and the program. */
_Noreturn static void exec_child(const struct program *program, const struct account *account, int in, int out, int err,
                                 int words)
{
  pid_t inner = getpid();
  write_all(words, &inner, sizeof inner);
  setsid();
  if (program->tty) ioctl(in, TIOCSCTTY, 0);
  if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(127);
  program_run(program, account, words);
}

static bool exec_pipes(struct exec *exec, const struct program *program, int child[3])
{
  int pair[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
  if (program->tty) {
    struct winsize size = {.ws_col = program->columns, .ws_row = program->rows};
    if (openpty(&pair[0][1], &pair[0][0], NULL, NULL, &size) != 0) return false;
    fcntl(pair[0][1], F_SETFD, FD_CLOEXEC);
    fcntl(pair[0][0], F_SETFD, FD_CLOEXEC);
    exec->in = pair[0][1];
    exec->out = fcntl(exec->in, F_DUPFD_CLOEXEC, 3);
    for (int i = 0; i < 3; i++) child[i] = i == 0 ? pair[0][0] : fcntl(pair[0][0], F_DUPFD_CLOEXEC, 3);
  } else {
    for (int i = 0; i < 3; i++)
      if (pipe2(pair[i], O_CLOEXEC) != 0) return false;
    exec->in = pair[0][1], child[0] = pair[0][0];
    exec->out = pair[1][0], child[1] = pair[1][1];
    exec->err = pair[2][0], child[2] = pair[2][1];
  }
  fcntl(exec->in, F_SETFL, O_NONBLOCK);
  fcntl(exec->out, F_SETFL, O_NONBLOCK);
  if (exec->err >= 0) fcntl(exec->err, F_SETFL, O_NONBLOCK);
  return true;
}

static void exec_begin(struct exec *exec)
{
  struct program program = {.cwd = entry_config->cwd, .user = entry_config->user};
  struct account account;
  char said[512] = "failed ";
  int child[3] = {-1, -1, -1}, words[2] = {-1, -1};
  for (size_t i = 0; i < entry_config->env.count; i++) strings_add(&program.env, entry_config->env.items[i]);
  if (!fields(exec->request, exec->request_size, program_field, &program) ||
      (program.args.count == 0 && program.get == NULL && program.put == NULL && !program.list))
    return exec_over(exec, "failed the request makes no sense");
  exec->tty = program.tty;
  const char *wrong = account_of(program.user, &account);
  if (wrong != NULL) {
    snprintf(said, sizeof said, "failed %s", wrong);
    return exec_over(exec, said);
  }
  if (!exec_pipes(exec, &program, child) || pipe2(words, O_CLOEXEC) != 0)
    return exec_over(exec, "failed the machine has no more descriptors");
  if (program.tty && fchown(child[0], account.uid, 5) != 0) return exec_over(exec, "failed its terminal cannot be given");
  pid_t pid = entry_fork();
  if (pid == 0) exec_child(&program, &account, child[0], child[1], child[2], words[1]);
  for (int i = 0; i < 3; i++) close_once(&child[i]);
  close(words[1]);
  /* Until the program was executed, which closes the pipe, or was not, which is said. */
  ssize_t got = pid < 0 ? 0 : read(words[0], &exec->inner, sizeof exec->inner);
  size_t have = strlen(said);
  while (got > 0 && have < sizeof said - 1 && (got = read(words[0], said + have, sizeof said - 1 - have)) > 0)
    have += (size_t)got;
  close(words[0]);
  if (pid < 0) return exec_over(exec, "failed the entry point is ending");
  exec->pid = pid;
  if (have > strlen("failed ")) {
    said[have] = 0;
    exec->pid = 0; /* it ends by itself, and nobody asks how */
    exec_over(exec, said);
  }
}

static void input_flush(struct exec *exec)
{
  while (exec->input_size > 0 && exec->in >= 0) {
    ssize_t took = write(exec->in, exec->input, exec->input_size);
    if (took < 0 && errno == EAGAIN) return;
    if (took < 0) {
      /* Nobody reads it any more: what comes is taken and dropped. */
      send_number('C', exec->id, (uint32_t)exec->input_size);
      exec->input_size = 0;
      if (!exec->tty) close_once(&exec->in);
      return;
    }
    memmove(exec->input, exec->input + took, exec->input_size - (size_t)took);
    exec->input_size -= (size_t)took;
    send_number('C', exec->id, (uint32_t)took);
  }
  if (exec->input_ended && exec->input_size == 0 && !exec->tty) close_once(&exec->in);
}

static void input_take(struct exec *exec, const uint8_t *bytes, size_t size)
{
  if (exec->in < 0) return send_number('C', exec->id, (uint32_t)size);
  if (size > WINDOW - exec->input_size) return; /* a host that breaks the rule loses what it sent */
  memcpy(exec->input + exec->input_size, bytes, size);
  exec->input_size += size;
  input_flush(exec);
}

static void exec_settle(struct exec *exec)
{
  char words[64];
  if (!exec->reaped || exec->out >= 0 || exec->err >= 0) return;
  /* The kernel kills all of a pid namespace before its first process is over: how that one ended is what is told then. */
  if (WIFSIGNALED(exec->status) && WTERMSIG(exec->status) == SIGKILL && entry_ending()) return exec_forget(exec);
  if (WIFSIGNALED(exec->status)) snprintf(words, sizeof words, "signalled %d", WTERMSIG(exec->status));
  else snprintf(words, sizeof words, "exited %d", WEXITSTATUS(exec->status));
  exec_over(exec, words);
}

/* Output as far as the host has room for it; an end, or a terminal that nobody has any more (EIO), closes it. */
static void output_take(struct exec *exec, int *fd, uint8_t kind)
{
  uint8_t bytes[PAYLOAD_MAX];
  while (exec->credit > 0 && queue_size < QUEUE_MAX) {
    size_t room = exec->credit < sizeof bytes ? exec->credit : sizeof bytes;
    ssize_t got = read(*fd, bytes, room);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      close_once(fd);
      break;
    }
    exec->credit -= (uint32_t)got;
    send_frame(kind, exec->id, bytes, (size_t)got);
  }
}

static void request_add(struct exec *exec, const uint8_t *bytes, size_t size)
{
  if (exec->request_size + size > REQUEST_MAX) return exec_over(exec, "failed the request is too long");
  exec->request = must(realloc(exec->request, exec->request_size + size + 1));
  memcpy(exec->request + exec->request_size, bytes, size);
  exec->request_size += size;
  exec->request[exec->request_size] = 0;
}

static void exec_command(uint8_t kind, uint32_t id, const uint8_t *payload, size_t size)
{
  struct exec *exec = exec_find(id);
  if (id == 0) return;
  if (exec == NULL && kind != 'x') return; /* it ended meanwhile */
  if (exec == NULL && (exec = exec_new(id)) == NULL)
    return send_frame('Z', id, "failed the machine runs too many execs", 38);
  switch (kind) {
    case 'x': return request_add(exec, payload, size);
    case 'X': return exec->pid == 0 && exec->request != NULL ? exec_begin(exec) : (void)0;
    case 'I': return input_take(exec, payload, size);
    case 'E':
      exec->input_ended = true;
      return input_flush(exec);
    case 'C':
      if (size == 4) exec->credit += number_get(payload);
      return;
    case 'R':
      if (size == 4 && exec->tty && exec->in >= 0) {
        struct winsize to = {.ws_col = (unsigned short)(payload[0] | payload[1] << 8),
                             .ws_row = (unsigned short)(payload[2] | payload[3] << 8)};
        ioctl(exec->in, TIOCSWINSZ, &to);
      }
      return;
    case 'K': return exec_end(exec);
  }
}

static void command(const uint8_t *frame, size_t size)
{
  if (size < 5) return;
  uint32_t id = number_get(frame + 1);
  if (frame[0] == 'H') {
    all_end();
    hung = false;
    queue_size = 0;
    send_frame('H', 0, frame + 5, size - 5);
  } else if (frame[0] == 'S') {
    entry_stop();
    send_frame('S', 0, "", 0);
  } else exec_command(frame[0], id, frame + 5, size - 5);
}

/* Takes COBS off in place. Returns the size, or 0 for what is no frame. */
static size_t decoded(uint8_t *bytes, size_t size)
{
  size_t from = 0, to = 0;
  while (from < size) {
    uint8_t run = bytes[from++];
    if (run == 0 || from + run - 1 > size) return 0;
    for (uint8_t i = 1; i < run; i++) bytes[to++] = bytes[from++];
    if (run < 255 && from < size) bytes[to++] = 0;
  }
  return to;
}

void channel_open(int fd)
{
  port = fd;
  entry_config = the_config();
  queue = must(malloc(QUEUE_MAX + 4 * FRAME_MAX * EXECS_MAX));
  /* The kernel tells by SIGIO that the host came or went; poll(2) would say again and again that it is away. */
  fcntl(port, F_SETOWN, getpid());
  fcntl(port, F_SETFL, fcntl(port, F_GETFL) | O_ASYNC | O_NONBLOCK);
}

bool channel_wants_write(void)
{
  return queue_size > 0;
}

void channel_readable(void)
{
  uint8_t bytes[4096];
  ssize_t got;
  while ((got = read(port, bytes, sizeof bytes)) > 0)
    for (ssize_t i = 0; i < got; i++) {
      if (bytes[i] == 0) {
        size_t size = dropping ? 0 : decoded(received, received_size);
        received_size = 0;
        dropping = false;
        if (size > 0) command(received, size);
      } else if (received_size == sizeof received) dropping = true;
      else received[received_size++] = bytes[i];
    }
}

void channel_writable(void)
{
  while (queue_size > 0) {
    ssize_t took = write(port, queue, queue_size);
    if (took <= 0) return;
    memmove(queue, queue + took, queue_size - (size_t)took);
    queue_size -= (size_t)took;
  }
}

size_t channel_poll(struct pollfd *to, size_t max)
{
  size_t count = 0;
  if (!hung) to[count++] = (struct pollfd){port, (short)(POLLIN | (queue_size > 0 ? POLLOUT : 0)), 0};
  for (int i = 0; i < EXECS_MAX && count + 3 <= max; i++) {
    struct exec *exec = execs[i];
    if (exec == NULL || exec->pid == 0) continue;
    bool room = exec->credit > 0 && queue_size < QUEUE_MAX;
    if (room && exec->out >= 0) to[count++] = (struct pollfd){exec->out, POLLIN, 0};
    if (room && exec->err >= 0) to[count++] = (struct pollfd){exec->err, POLLIN, 0};
    if (exec->input_size > 0 && exec->in >= 0) to[count++] = (struct pollfd){exec->in, POLLOUT, 0};
  }
  return count;
}

static void exec_ready(struct exec *exec, int fd)
{
  if (fd == exec->out) output_take(exec, &exec->out, 'O');
  else if (fd == exec->err) output_take(exec, &exec->err, 'F');
  else if (fd == exec->in) input_flush(exec);
}

void channel_ready(const struct pollfd *fds, size_t count)
{
  for (size_t n = 0; n < count; n++) {
    if (fds[n].revents == 0) continue;
    if (fds[n].fd == port) {
      if ((fds[n].revents & POLLHUP) != 0) {
        hung = true;
        queue_size = received_size = 0;
        all_end();
      }
      /* Also then: the next host may have come since, and what it says ends the silence. */
      channel_readable();
      channel_writable();
      continue;
    }
    for (int i = 0; i < EXECS_MAX; i++)
      if (execs[i] != NULL && (fds[n].fd == execs[i]->out || fds[n].fd == execs[i]->err || fds[n].fd == execs[i]->in)) {
        exec_ready(execs[i], fds[n].fd);
        break;
      }
  }
  long long now = now_ms();
  for (int i = 0; i < EXECS_MAX; i++) {
    struct exec *exec = execs[i];
    if (exec == NULL) continue;
    if (exec->kill_at != 0 && exec->kill_at <= now) {
      session_signal(exec->inner, SIGKILL);
      exec_forget(exec);
    } else if (exec->pid != 0 || exec->reaped) exec_settle(exec);
  }
}

int channel_due(void)
{
  long long due = -1, now = now_ms();
  for (int i = 0; i < EXECS_MAX; i++)
    if (execs[i] != NULL && execs[i]->kill_at != 0 && (due < 0 || execs[i]->kill_at - now < due))
      due = execs[i]->kill_at > now ? execs[i]->kill_at - now : 0;
  return (int)due;
}

void channel_signalled(void)
{
  hung = false;
}

void channel_reaped(pid_t pid, int status)
{
  for (int i = 0; i < EXECS_MAX; i++)
    if (execs[i] != NULL && execs[i]->pid == pid) {
      execs[i]->reaped = true;
      execs[i]->status = status;
      /* Its kernel closed its end: what it wrote is all there is, unless others of its session hold it. */
      return;
    }
}
