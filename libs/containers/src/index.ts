export { createContainerRuntime } from './container-runtime.js';
export type {
  BlobSource,
  ContainerRuntimeOptions,
  LayerSource,
  LayerVolumes,
  VethAttacher,
} from './ports.js';
export {
  type Launched,
  LaunchError,
  type LaunchExit,
  type LaunchRequest,
  type LaunchStatus,
  type Launcher,
} from './launch/launcher.js';
