import { z } from 'zod';

/**
 * The context id by which a guest's sockets are reached (virtio 1.2, 5.10.4). 0 is reserved, 1 is whoever asks and 2 is the host; all bits set
 * mean any.
 */
export const VsockCid = z.int().min(3).max(0xffff_fffe);
