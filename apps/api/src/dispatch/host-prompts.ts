import { Digest, type Instance } from '@berth/model';
import type { Files, Layers, Prompts } from '../http/deps.js';
import type { AgentsDoor } from './agents-door.js';
import { hostOf } from './host-terminals.js';

/** What is asked of a running instance on the hosts whose links this process holds, and is done when it is answered. */
export function hostPrompts(door: Pick<AgentsDoor, 'connected' | 'act'>): Prompts {
  return {
    refuseAway: (instance: Instance) => void hostOf(door, instance),
    act: (instance, action) => door.act(hostOf(door, instance).id, instance.id, action),
  };
}

/** Files of guests, likewise. */
export function hostFiles(
  door: Pick<AgentsDoor, 'connected' | 'fileRead' | 'fileWrite' | 'exportRead'>,
): Files {
  return {
    read: async (instance, path, signal) =>
      door.fileRead(hostOf(door, instance).id, instance.id, path, signal),
    write: async (instance, target, body, signal) =>
      door.fileWrite(hostOf(door, instance).id, instance.id, target, body, signal),
    exported: (hostId, volumeId, from, signal) => door.exportRead(hostId, volumeId, from, signal),
  };
}

const imageOf = ({ imageDigest }: Instance): Digest => Digest.parse(imageDigest);

/** What containers changed of their images, likewise. */
export function hostLayers(door: Pick<AgentsDoor, 'connected' | 'layerChanges' | 'layer'>): Layers {
  return {
    refuseAway: (instance) => void hostOf(door, instance),
    changes: async (instance, page, signal) =>
      door.layerChanges(
        hostOf(door, instance).id,
        instance.id,
        { ...page, image: imageOf(instance) },
        signal,
      ),
    read: async (instance, maxBytes, signal) =>
      door.layer(hostOf(door, instance).id, instance.id, imageOf(instance), maxBytes, signal),
  };
}
