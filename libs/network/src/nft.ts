import { CommandError, run } from '@berth/linux';
import { NetworkError } from './network-error.js';
import {
  guardAdmit,
  guardApply,
  guardDelete,
  type GuardedNic,
  guardExpel,
  guardMark,
  guardRules,
  type GuardSettings,
} from './nft-guard.js';
import { nftApply, nftDelete, nftMark, nftRules, type NftSettings } from './nft-ruleset.js';
import { nftMatches } from './nft-words.js';

/** Puts a network's table in place; leaves it alone (with its counters) when it is already as wanted. */
export async function nftEnsure(settings: NftSettings): Promise<void> {
  const wanted = { mark: nftMark(settings), rules: nftRules(settings) };
  if (!(await inPlace('inet', settings.table, wanted))) await nft(nftApply(settings));
}

/** Puts the guard in place, with these nics in it; leaves it alone, and who is in it, when its rules are as wanted. */
export async function guardEnsure(
  settings: GuardSettings,
  attached: () => { readonly nics: readonly GuardedNic[]; readonly unguarded: readonly string[] },
): Promise<void> {
  const wanted = { mark: guardMark(settings), rules: guardRules(settings) };
  if (await inPlace('bridge', settings.table, wanted)) return;
  const { nics, unguarded } = attached();
  await nft(guardApply(settings, nics, unguarded));
}

/** Lets one more nic send. */
export async function guardLetIn(settings: GuardSettings, nic: GuardedNic): Promise<void> {
  await nft(guardAdmit(settings, nic));
}

/** Takes nics, whose links are gone, out of the guard. */
export async function guardLetGo(settings: GuardSettings, nics: readonly GuardedNic[]): Promise<void> {
  if (nics.length === 0) return;
  try {
    await nft(guardExpel(settings, nics));
  } catch (error) {
    // Without a table of ours there is nothing to take them out of. It is looked at only then: that costs as much as the deed.
    const wanted = { mark: guardMark(settings), rules: guardRules(settings) };
    if (await inPlace('bridge', settings.table, wanted)) throw error;
  }
}

/** Takes a network's table away. Removing what never was is no error. */
export async function nftRemove(table: string): Promise<void> {
  await nft(nftDelete(table));
}

/** Takes the guard away, with the last network. Removing what never was is no error. */
export async function guardRemove(table: string): Promise<void> {
  await nft(guardDelete(table));
}

async function inPlace(
  family: 'inet' | 'bridge',
  table: string,
  wanted: Parameters<typeof nftMatches>[1],
): Promise<boolean> {
  try {
    // Without what is in its sets, which is as much as there are nics.
    const { stdout } = await run('nft', ['-j', '-t', 'list', 'table', family, table]);
    return nftMatches(JSON.parse(stdout), wanted);
  } catch (error) {
    if (error instanceof CommandError && error.reason === 'exit') return false; // no such table
    throw failed(error);
  }
}

async function nft(input: unknown): Promise<void> {
  try {
    await run('nft', ['-j', '-f', '-'], { input: JSON.stringify(input) });
  } catch (error) {
    throw failed(error);
  }
}

function failed(error: unknown): NetworkError {
  const words = error instanceof Error ? error.message : String(error);
  return new NetworkError(
    'nftFailed',
    words,
    'install nftables and load the kernel modules nf_tables and nft_masq',
    error,
  );
}
