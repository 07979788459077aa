#define _GNU_SOURCE
#include "guest.h"
#include <fcntl.h>
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

/* A setting of IPv6 of one interface; a kernel without IPv6 has none. */
static void setting6(const char *name, const char *key, const char *value)
{
  char path[128];
  snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", name, key);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, value, strlen(value)) < 0) give_up("%s cannot be set: %m", path);
  close(fd);
}

/* Before the interface is raised: its addresses are its own, and no router gives it others. */
static void nic6_prepare(const char *name)
{
  setting6(name, "accept_dad", "0");
  setting6(name, "accept_ra", "0");
  setting6(name, "addr_gen_mode", "0");
}

/* <linux/ipv6.h>, which does not go together with the C library's headers. */
struct in6_ifreq {
  struct in6_addr ifr6_addr;
  uint32_t ifr6_prefixlen;
  int ifr6_ifindex;
};

static void nic6_up(const char *name, const struct nic *nic)
{
  struct in6_ifreq request = {
    .ifr6_addr = nic->address6, .ifr6_prefixlen = nic->prefix6, .ifr6_ifindex = (int)if_nametoindex(name)};
  int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) give_up("there is no IPv6: %m");
  if (ioctl(fd, SIOCSIFADDR, &request) != 0) give_up("%s takes no IPv6 address: %m", name);
  if (!IN6_IS_ADDR_UNSPECIFIED(&nic->gateway6)) {
    struct in6_rtmsg route = {.rtmsg_gateway = nic->gateway6,
                              .rtmsg_metric = 1,
                              .rtmsg_flags = RTF_UP | RTF_GATEWAY,
                              .rtmsg_ifindex = request.ifr6_ifindex};
    if (ioctl(fd, SIOCADDRT, &route) != 0) give_up("the default route of IPv6 cannot be set: %m");
  }
  close(fd);
}

static void nic_up(int fd, const struct nic *nic)
{
  bool has6 = !IN6_IS_ADDR_UNSPECIFIED(&nic->address6);
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
  if (has6) nic6_prepare(request.ifr_name);
  raise_interface(fd, &request);
  if (has6) nic6_up(request.ifr_name, nic);
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
