/**
 * Who may import whom, as `room:` tags of the packages. No wildcard: a room that is not named here imports nothing.
 * A new arrow needs a decision record in docs/adr.
 */
const rooms = {
  model: [],
  scheduler: ['model'],
  link: ['model'],
  runtime: ['model'],
  client: ['model'],
  linux: [],
  faults: [],
  images: ['model', 'linux'],
  storage: ['model', 'linux', 'images'],
  network: ['model', 'linux'],
  kvm: ['model', 'runtime', 'linux', 'images', 'storage', 'network', 'faults'],
  containers: ['model', 'runtime', 'linux', 'images', 'storage', 'network', 'faults'],
  migrations: [],
  api: ['model', 'scheduler', 'link', 'images', 'migrations', 'faults'],
  agent: ['model', 'link', 'runtime', 'linux', 'images', 'storage', 'network', 'kvm', 'containers', 'faults'],
  cli: ['model', 'client'],
  supervisor: ['model', 'linux', 'network', 'kvm'],
  dashboard: ['model', 'client'],
};

/** The same as constraints of @nx/enforce-module-boundaries. */
export const arrows = Object.entries(rooms).map(([room, imports]) => ({
  sourceTag: `room:${room}`,
  onlyDependOnLibsWithTags: [`room:${room}`, ...imports.map((r) => `room:${r}`)],
}));
