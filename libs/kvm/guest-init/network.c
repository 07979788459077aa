#define _GNU_SOURCE
#include "guest.h"
#include <ifaddrs.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOKS 5000

static struct sockaddr inet_address(uint32_t address)
{
  struct sockaddr result;
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = address};
  memset(&result, 0, sizeof result);
  memcpy(&result, &in, sizeof in);
  return result;
}

static void raise_interface(int fd, struct ifreq *request)
{
  if (ioctl(fd, SIOCGIFFLAGS, request) != 0) give_up("%s has no flags: %m", request->ifr_name);
  request->ifr_flags |= IFF_UP;
  if (ioctl(fd, SIOCSIFFLAGS, request) != 0) give_up("%s cannot be raised: %m", request->ifr_name);
}

/* The name of the interface with this MAC; false when there is none yet. */
static bool name_of(int fd, const uint8_t mac[6], char name[IFNAMSIZ])
{
  struct if_nameindex *all = if_nameindex();
  bool found = false;
  for (struct if_nameindex *one = all; !found && one != NULL && one->if_index != 0; one++) {
    struct ifreq request = {0};
    strncpy(request.ifr_name, one->if_name, IFNAMSIZ - 1);
    found = ioctl(fd, SIOCGIFHWADDR, &request) == 0 && memcmp(request.ifr_hwaddr.sa_data, mac, 6) == 0;
    if (found) memcpy(name, request.ifr_name, IFNAMSIZ);
  }
  if (all != NULL) if_freenameindex(all);
  return found;
}

static void nic_up(int fd, const struct nic *nic)
{
  struct ifreq request = {0};
  int look = 0;
  while (!name_of(fd, nic->mac, request.ifr_name)) {
    if (++look == LOOKS) give_up("the machine lacks a nic of its configuration");
    usleep(1000);
  }
  request.ifr_addr = inet_address(nic->address);
  if (ioctl(fd, SIOCSIFADDR, &request) != 0) give_up("%s takes no address: %m", request.ifr_name);
  request.ifr_netmask = inet_address(nic->netmask);
  if (ioctl(fd, SIOCSIFNETMASK, &request) != 0) give_up("%s takes no netmask: %m", request.ifr_name);
  raise_interface(fd, &request);
  if (nic->gateway == 0) return;
  struct rtentry route = {.rt_dst = inet_address(0),
                          .rt_genmask = inet_address(0),
                          .rt_gateway = inet_address(nic->gateway),
                          .rt_flags = RTF_UP | RTF_GATEWAY};
  if (ioctl(fd, SIOCADDRT, &route) != 0) give_up("the default route cannot be set: %m");
}

void network_up(const struct config *config)
{
  struct ifreq loopback = {.ifr_name = "lo"};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) give_up("there is no network: %m");
  raise_interface(fd, &loopback);
  for (size_t i = 0; i < config->nic_count; i++) nic_up(fd, &config->nics[i]);
  close(fd);
}
