/** A field of what a guest's first process is told: `key=value`, ended by NUL. */
export type GuestField = readonly [key: string, value: string];

/** @throws Error for a value that holds a NUL, or a key that is no word of ours */
export function fieldsEncode(fields: readonly GuestField[]): Buffer {
  return Buffer.concat(
    fields.map(([key, value]) => {
      if (!/^[a-z]+$/.test(key)) throw new Error(`not a field: ${key}`);
      if (value.includes('\0')) throw new Error(`field ${key} holds a NUL`);
      return Buffer.from(`${key}=${value}\0`);
    }),
  );
}

const SECTOR = 512;

/** The configuration disk of a guest (libs/kvm/guest-init/config.c): a line that tells the length, and the fields. */
export function configDisk(fields: readonly GuestField[]): Buffer {
  const body = fieldsEncode(fields);
  const disk = Buffer.concat([Buffer.from(`berth-microvm 1 ${body.length}\n`), body]);
  return Buffer.concat([disk, Buffer.alloc((SECTOR - (disk.length % SECTOR)) % SECTOR)]);
}
