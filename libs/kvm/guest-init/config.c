#define _GNU_SOURCE
#include "guest.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The configuration disk begins with the line `berth-microvm 1 <length>` and holds as many bytes of fields after it, each
 * `key=value` and a NUL. No value holds a NUL, and nothing else in it means anything: no quoting is needed.
 */
#define CONFIG_MAX (16u << 20)

void strings_add(struct strings *list, const char *text)
{
  list->items = must(realloc(list->items, (list->count + 2) * sizeof *list->items));
  list->items[list->count++] = must(strdup(text));
  list->items[list->count] = NULL;
}

bool fields(char *text, size_t length, void (*take)(void *to, const char *key, char *value), void *to)
{
  char *end = text + length;
  while (text < end) {
    char *stop = memchr(text, 0, (size_t)(end - text));
    if (stop == NULL) return false;
    char *equals = strchr(text, '=');
    if (equals == NULL) return false;
    *equals = 0;
    take(to, text, equals + 1);
    text = stop + 1;
  }
  return true;
}

const char *env_get(const struct strings *env, const char *name)
{
  size_t length = strlen(name);
  for (size_t i = 0; i < env->count; i++)
    if (strncmp(env->items[i], name, length) == 0 && env->items[i][length] == '=')
      return env->items[i] + length + 1;
  return NULL;
}

void env_put(struct strings *env, const char *entry)
{
  size_t length = strcspn(entry, "=") + 1;
  for (size_t i = 0; i < env->count; i++)
    if (strncmp(env->items[i], entry, length) == 0) {
      free(env->items[i]);
      env->items[i] = must(strdup(entry));
      return;
    }
  strings_add(env, entry);
}

void program_field(void *to, const char *key, char *value)
{
  struct program *program = to;
  if (strcmp(key, "arg") == 0) strings_add(&program->args, value);
  else if (strcmp(key, "env") == 0) env_put(&program->env, value);
  else if (strcmp(key, "cwd") == 0) program->cwd = must(strdup(value));
  else if (strcmp(key, "user") == 0) program->user = must(strdup(value));
  else if (strcmp(key, "get") == 0) program->get = must(strdup(value));
  else if (strcmp(key, "put") == 0) program->put = must(strdup(value));
  else if (strcmp(key, "secret") == 0)
    program->secret = sscanf(value, "%u %u", &program->secret_uid, &program->secret_gid) == 2;
  else if (strcmp(key, "list") == 0) program->list = strcmp(value, "processes") == 0;
  else if (strcmp(key, "mode") == 0) program->mode = (mode_t)strtoul(value, NULL, 8) & 07777;
  else if (strcmp(key, "tty") == 0)
    program->tty = sscanf(value, "%hux%hu", &program->columns, &program->rows) == 2;
}

/* `52:54:00:… 10.0.0.2/24 10.0.0.1`; without the last the interface is not the way out. */
static void nic_field(struct config *config, const char *value)
{
  char address[16] = "", gateway[16] = "0.0.0.0";
  unsigned prefix, mac[6];
  if (config->nic_count == MAX_NICS) give_up("the configuration has more than %d nics", MAX_NICS);
  struct nic *nic = &config->nics[config->nic_count++];
  int found = sscanf(value, "%x:%x:%x:%x:%x:%x %15[0-9.]/%u %15[0-9.]", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
                     &mac[5], address, &prefix, gateway);
  if (found < 8 || prefix > 32 || inet_pton(AF_INET, address, &nic->address) != 1 ||
      inet_pton(AF_INET, gateway, &nic->gateway) != 1)
    give_up("the configuration has a nic that makes no sense: %s", value);
  for (int i = 0; i < 6; i++) nic->mac[i] = (uint8_t)mac[i];
  nic->netmask = htonl(prefix == 0 ? 0 : ~0u << (32 - prefix));
}

/* `fd00::2/64 fd00::1` of the nic before it; without the last the interface is not the way out. */
static void nic6_field(struct config *config, const char *value)
{
  char address[INET6_ADDRSTRLEN] = "", gateway[INET6_ADDRSTRLEN] = "::";
  if (config->nic_count == 0) give_up("the configuration has IPv6 of no nic");
  struct nic *nic = &config->nics[config->nic_count - 1];
  int found = sscanf(value, "%45[0-9a-f:.]/%u %45[0-9a-f:.]", address, &nic->prefix6, gateway);
  if (found < 2 || nic->prefix6 > 128 || inet_pton(AF_INET6, address, &nic->address6) != 1 ||
      inet_pton(AF_INET6, gateway, &nic->gateway6) != 1)
    give_up("the configuration has IPv6 that makes no sense: %s", value);
}

/* `0400 7 8 /run/secrets/token`: mode, owner, group, path. */
static void secret_field(struct config *config, char *value)
{
  unsigned mode;
  int at = 0;
  if (config->secret_count == MAX_SECRETS) give_up("the configuration has more than %d secrets", MAX_SECRETS);
  struct secret *secret = &config->secrets[config->secret_count++];
  if (sscanf(value, "%o %u %u %n", &mode, &secret->uid, &secret->gid, &at) != 3 || value[at] != '/')
    give_up("the configuration has a secret that makes no sense");
  secret->mode = (mode_t)(mode & 0777);
  secret->path = value + at;
  secret->value = value + strlen(value); /* empty unless said */
}

/* Of the secret before it. */
static void secret_value_field(struct config *config, char *value)
{
  if (config->secret_count == 0) give_up("the configuration has the value of no secret");
  config->secrets[config->secret_count - 1].value = value;
}

static void config_field(void *to, const char *key, char *value)
{
  struct config *config = to;
  if (strcmp(key, "arg") == 0) strings_add(&config->args, value);
  else if (strcmp(key, "env") == 0) strings_add(&config->env, value);
  else if (strcmp(key, "cwd") == 0) config->cwd = value;
  else if (strcmp(key, "user") == 0) config->user = value;
  else if (strcmp(key, "hostname") == 0) config->hostname = value;
  else if (strcmp(key, "hosts") == 0) config->hosts = value;
  else if (strcmp(key, "resolv") == 0) config->resolv = value;
  else if (strcmp(key, "init") == 0) config->init = strcmp(value, "1") == 0;
  else if (strcmp(key, "stop") == 0) config->stop_signal = atoi(value);
  else if (strcmp(key, "nic") == 0) nic_field(config, value);
  else if (strcmp(key, "nicsix") == 0) nic6_field(config, value);
  else if (strcmp(key, "secret") == 0) secret_field(config, value);
  else if (strcmp(key, "secretvalue") == 0) secret_value_field(config, value);
  /* Fields of a newer host are left alone. */
}

void config_read(const char *device, struct config *config)
{
  char head[64] = "";
  unsigned version;
  size_t length;
  int at = 0;
  int fd = open(device, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || read(fd, head, sizeof head - 1) <= 0) give_up("%s cannot be read: %m", device);
  if (sscanf(head, "berth-microvm %u %zu\n%n", &version, &length, &at) != 2 || at == 0 || version != 1 ||
      length > CONFIG_MAX)
    give_up("%s holds no configuration", device);
  char *text = must(malloc(length + 1)); /* for good: values point into it */
  for (size_t have = 0; have < length;) {
    ssize_t got = pread(fd, text + have, length - have, (off_t)(at + have));
    if (got <= 0) give_up("the configuration is cut short");
    have += (size_t)got;
  }
  close(fd);
  *config = (struct config){.cwd = "/", .user = "", .hostname = "", .hosts = "", .resolv = "", .stop_signal = 15};
  if (!fields(text, length, config_field, config) || config->args.count == 0)
    give_up("the configuration makes no sense");
}
