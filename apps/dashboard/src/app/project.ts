const key = 'berth-project';

/** The project of the next visit without one in its address. */
export const projectRemember = (name: string): void => localStorage.setItem(key, name);

/** Where to go without a project in the address: where one was last, if that is still there. @param names of all one may see */
export function projectChoose(names: readonly string[]): string {
  const known = [localStorage.getItem(key), 'default'].find((name) => name !== null && names.includes(name));
  return known ?? names[0] ?? 'default';
}
