import { CommandError, run } from '@berth/linux';
import { NetworkError } from './network-error.js';
import { nftApply, nftDelete, nftMatches, type NftSettings } from './nft-ruleset.js';

/** Puts a network's table in place; leaves it alone (with its counters) when it is already as wanted. */
export async function nftEnsure(settings: NftSettings): Promise<void> {
  if (await inPlace(settings)) return;
  await nft(['-j', '-f', '-'], nftApply(settings));
}

/** Takes a network's table away. Removing what never was is no error. */
export async function nftRemove(table: string): Promise<void> {
  await nft(['-j', '-f', '-'], nftDelete(table));
}

async function inPlace(settings: NftSettings): Promise<boolean> {
  try {
    const { stdout } = await run('nft', ['-j', 'list', 'table', 'inet', settings.table]);
    return nftMatches(JSON.parse(stdout), settings);
  } catch (error) {
    if (error instanceof CommandError && error.reason === 'exit') return false; // no such table
    throw failed(error);
  }
}

async function nft(args: readonly string[], input: unknown): Promise<void> {
  try {
    await run('nft', args, { input: JSON.stringify(input) });
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
