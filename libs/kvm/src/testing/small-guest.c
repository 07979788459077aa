/*
 * A guest of some kilobytes that stands in for a microVM's kernel and first process where a test asks nothing of Linux: it takes a
 * tenth of the processor time that Linux needs to boot. QEMU begins it by PVH, in 32-bit mode without paging. It is told what to do
 * by the configuration disk, counts its boots in a sector of its data disk that no file system uses, says `boots=<n>` by its log
 * port, and answers the host as libs/kvm/guest-init does (channel.c there) as far as a machine without execs goes.
 *
 * Devices are driven by their legacy interface (virtio 1.1, 4.1.4.8 and 2.6.2) and looked at, without interrupts of their own.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where QEMU begins it: an ELF note with the address (Xen's public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY). */
asm(".pushsection .note.pvh, \"a\", @note\n"
    ".balign 4\n.long 4, 4, 18\n.asciz \"Xen\"\n.long begin\n"
    ".popsection\n"
    ".globl begin\n"
    "begin: mov $stack_top, %esp\ncall guest\n"
    ".globl tick\n"
    "tick: push %eax\nmov $0x20, %al\nout %al, $0x20\npop %eax\niret\n"
    ".pushsection .bss\n.align 16\n.skip 16384\nstack_top:\n.popsection\n");
extern char tick[];

enum { PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc, PIC = 0x20, PIT = 0x40, POWER_CONTROL = 0x604, SLEEP_ENABLE = 0x2000 };
enum { BLOCK = 0x10011af4, SERIAL = 0x10031af4 };
/* Registers of a legacy device, and bits of its status. */
enum { GUEST_FEATURES = 4, QUEUE_AT = 8, QUEUE_SIZE = 12, QUEUE_SELECT = 14, NOTIFY = 16, STATUS = 18, CONFIG = 20 };
enum { ACKNOWLEDGED = 1, DRIVER = 2, DRIVER_OK = 4 };
enum { MULTIPORT = 1 << 1 };
/* What the control queue carries. */
enum { DEVICE_READY = 0, PORT_ADD = 1, PORT_READY = 3, PORT_OPEN = 6, PORT_NAME = 7 };

static inline void out8(uint16_t port, uint8_t value) { asm volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t value) { asm volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t value) { asm volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }
static inline uint16_t in16(uint16_t port) { uint16_t value; asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port)); return value; }
static inline uint32_t in32(uint16_t port) { uint32_t value; asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port)); return value; }

/* The compiler may call it. */
void *memcpy(void *to, const void *from, size_t count)
{
  for (size_t i = 0; i < count; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
  return to;
}

static bool begins(const char *bytes, const char *word)
{
  while (*word != 0)
    if (*bytes++ != *word++) return false;
  return true;
}

static void power_off(void)
{
  out16(POWER_CONTROL, SLEEP_ENABLE);
  for (;;) asm volatile("cli; hlt");
}

/* A queue of a device: requests of up to three pieces, one at a time, or buffers for what comes. */
struct piece { uint64_t at; uint32_t size; uint16_t flags, next; };
enum { MORE = 1, TO_WRITE = 2 };
struct queue {
  uint16_t device, number, size, taken;
  struct piece *pieces;
  volatile uint16_t *offered; /* flags, index, heads */
  volatile uint16_t *used;    /* flags, index; then pairs of a head and a length, of 32 bits each */
};

static uint8_t memory[64 * 4096] __attribute__((aligned(4096)));
static size_t memory_used;

static struct queue queue_make(uint16_t device, uint16_t number)
{
  out16(device + QUEUE_SELECT, number);
  struct queue queue = {.device = device, .number = number, .size = in16(device + QUEUE_SIZE)};
  size_t offered = queue.size * sizeof(struct piece), used = (offered + 6 + 2 * queue.size + 4095) & ~4095u;
  uint8_t *at = memory + memory_used;
  memory_used += (used + 6 + 8 * queue.size + 4095) & ~4095u;
  if (queue.size == 0 || memory_used > sizeof memory) power_off();
  queue.pieces = (struct piece *)at;
  queue.offered = (volatile uint16_t *)(at + offered);
  queue.used = (volatile uint16_t *)(at + used);
  queue.offered[0] = 1; /* no interrupts */
  out32(device + QUEUE_AT, (uint32_t)at >> 12);
  return queue;
}

static void offer(struct queue *queue, uint16_t head)
{
  queue->offered[2 + queue->offered[1] % queue->size] = head;
  asm volatile("" ::: "memory");
  queue->offered[1]++;
  asm volatile("" ::: "memory");
  out16(queue->device + NOTIFY, queue->number);
}

/* The length of what came, and its piece's number; false when nothing did. */
static bool took(struct queue *queue, uint16_t *head, uint32_t *size)
{
  if (queue->taken == queue->used[1]) return false;
  volatile uint32_t *pair = (volatile uint32_t *)(queue->used + 2) + 2 * (queue->taken++ % queue->size);
  *head = (uint16_t)pair[0];
  *size = pair[1];
  asm volatile("" ::: "memory");
  return true;
}

static void ask(struct queue *queue, const struct piece *pieces, uint16_t count)
{
  uint16_t head;
  uint32_t size;
  for (uint16_t i = 0; i < count; i++) {
    queue->pieces[i] = pieces[i];
    if (i + 1 < count) queue->pieces[i].flags |= MORE, queue->pieces[i].next = i + 1;
  }
  offer(queue, 0);
  while (!took(queue, &head, &size)) asm volatile("pause");
}

#define PIECE(bytes, length, how) ((struct piece){(uintptr_t)(bytes), (length), (how), 0})

static struct queue disks[4];
static size_t disk_count;

enum { READ = 0, WRITE = 1, SERIAL_OF = 8 };
static void disk_do(struct queue *disk, uint32_t what, uint64_t sector, void *bytes, uint32_t size)
{
  struct { uint32_t what, unused; uint64_t sector; } head = {what, 0, sector};
  volatile uint8_t status = 0xff;
  const struct piece pieces[] = {
    PIECE(&head, sizeof head, 0), PIECE(bytes, size, what == WRITE ? 0 : TO_WRITE), PIECE(&status, 1, TO_WRITE)};
  ask(disk, pieces, 3);
  if (status != 0) power_off();
}

static struct queue *disk_of(const char *wanted)
{
  for (size_t i = 0; i < disk_count; i++) {
    char serial[21] = "";
    disk_do(&disks[i], SERIAL_OF, 0, serial, 20);
    if (begins(serial, wanted)) return &disks[i];
  }
  power_off();
  return NULL;
}

static uint16_t serial;
static struct queue control_in, control_out;
struct control { uint32_t port; uint16_t event, value; char name[24]; };
static struct control controls[16];
/* By the numbers that the machine gave them. */
static uint32_t log_port, exit_port, host_port;

static void control(uint32_t port, uint16_t event)
{
  struct control message = {port, event, 1, ""};
  ask(&control_out, &PIECE(&message, 8, 0), 1);
}

static void ports_open(void)
{
  uint16_t head;
  uint32_t size;
  for (uint16_t i = 0; i < 16; i++) {
    control_in.pieces[i] = PIECE(&controls[i], sizeof controls[i], TO_WRITE);
    offer(&control_in, i);
  }
  control(0, DEVICE_READY);
  while (log_port == 0 || exit_port == 0 || host_port == 0) {
    if (!took(&control_in, &head, &size)) continue;
    const struct control said = controls[head];
    offer(&control_in, head);
    if (said.event == PORT_ADD) control(said.port, PORT_READY);
    if (said.event != PORT_NAME) continue;
    if (begins(said.name, "berth.log")) log_port = said.port;
    if (begins(said.name, "berth.exit")) exit_port = said.port;
    if (begins(said.name, "berth.host")) host_port = said.port;
    control(said.port, PORT_OPEN);
  }
}

/* The queue of a port on which it sends; that on which it receives is the one before. */
static uint16_t sending(uint32_t port) { return (uint16_t)(port == 0 ? 1 : 2 * port + 3); }

static void device_begin(uint16_t device, uint32_t features)
{
  out8(device + STATUS, 0);
  out8(device + STATUS, ACKNOWLEDGED | DRIVER);
  out32(device + GUEST_FEATURES, features);
}

static void devices_find(void)
{
  for (uint32_t slot = 0; slot < 32; slot++) {
    const uint32_t at = 0x80000000u + slot * 0x800;
    out32(PCI_ADDRESS, at);
    const uint32_t what = in32(PCI_DATA);
    if (what != BLOCK && what != SERIAL) continue;
    out32(PCI_ADDRESS, at + 4);
    out32(PCI_DATA, (in32(PCI_DATA) & 0xffff) | 5); /* its ports, and its reach into memory */
    out32(PCI_ADDRESS, at + 0x10);
    const uint16_t device = in32(PCI_DATA) & 0xfffc;
    device_begin(device, what == SERIAL ? MULTIPORT : 0);
    if (what == SERIAL) serial = device;
    else if (disk_count < 4) {
      disks[disk_count++] = queue_make(device, 0);
      out8(device + STATUS, ACKNOWLEDGED | DRIVER | DRIVER_OK);
    }
  }
}

/* Sleeps until the next tick of the timer (18 a second), which is what wakes it to look again. */
static void ticks_begin(void)
{
  static struct { uint16_t low, selector, kind, high; } table[256];
  static struct { uint16_t limit; uint32_t base; } __attribute__((packed)) where;
  uint16_t selector;
  asm("mov %%cs, %0" : "=r"(selector));
  for (size_t i = 0; i < 256; i++) {
    table[i].low = (uint16_t)(uintptr_t)tick;
    table[i].selector = selector;
    table[i].kind = 0x8e00;
    table[i].high = (uint16_t)((uintptr_t)tick >> 16);
  }
  where.limit = sizeof table - 1;
  where.base = (uint32_t)table;
  asm volatile("lidt %0" ::"m"(where));
  static const uint8_t words[] = {0x11, 0x20, 0x04, 0x01}; /* vectors from 20h on */
  out8(PIC, words[0]);
  for (size_t i = 1; i < 4; i++) out8(PIC + 1, words[i]);
  out8(PIC + 1, 0xfe); /* the timer alone */
  out8(PIT + 3, 0x34);
  out8(PIT, 0);
  out8(PIT, 0);
}

static char config[8192];

/* Whether the arguments of its entry point hold this word. */
static bool told(const char *word)
{
  for (size_t i = 0; i + 32 < sizeof config; i++)
    if (begins(config + i, "arg=") && begins(config + i + 4, word)) return true;
  return false;
}

static void say(struct queue *queue, const char *words, uint32_t size)
{
  ask(queue, &PIECE(words, size, 0), 1);
}

void guest(void)
{
  devices_find();
  control_in = queue_make(serial, 2);
  control_out = queue_make(serial, 3);
  struct queue ends[16];
  for (uint16_t i = 4; i < 10; i++) ends[i] = queue_make(serial, i);
  out8(serial + STATUS, ACKNOWLEDGED | DRIVER | DRIVER_OK);
  ports_open();
  if (log_port > 3 || exit_port > 3 || host_port > 3) power_off();
  struct queue *log = &ends[sending(log_port)], *end = &ends[sending(exit_port)], *answers = &ends[sending(host_port)];
  struct queue *heard = answers - 1;

  struct queue *told_by = disk_of("berth-config"), *data = disk_of("berth-data");
  const uint32_t sectors = in32(told_by->device + CONFIG);
  disk_do(told_by, READ, 0, config, sectors > 16 ? 8192 : 512 * sectors);
  static uint8_t count[512];
  disk_do(data, READ, 1, count, 512);
  count[0]++;
  disk_do(data, WRITE, 1, count, 512);
  char line[] = "boots=0\n";
  line[6] = (char)('0' + count[0]);
  say(log, line, 8);
  if (told("brief")) {
    say(end, "exited 7\n", 9);
    power_off();
  }

  ticks_begin();
  static char bytes[4][512], frame[512];
  uint32_t frame_size = 0, size;
  uint16_t head;
  for (uint16_t i = 0; i < 4; i++) {
    heard->pieces[i] = PIECE(bytes[i], sizeof bytes[i], TO_WRITE);
    offer(heard, i);
  }
  for (;;) {
    while (took(heard, &head, &size)) {
      for (uint32_t i = 0; i < size; i++) {
        frame[frame_size % sizeof frame] = bytes[head][i];
        frame_size = frame_size % sizeof frame + 1;
        if (bytes[head][i] != 0) continue;
        /* A greeting and the wish that it end are answered by the same words; of a frame's code, the second byte is its kind. */
        const char kind = frame_size > 2 ? frame[1] : 0;
        if (kind == 'H' || kind == 'S') say(answers, frame, frame_size);
        frame_size = 0;
        if (kind != 'S' || told("stubborn")) continue;
        say(end, "exited 0\n", 9);
        power_off();
      }
      offer(heard, head);
    }
    asm volatile("sti; hlt; cli");
  }
}
