import { cliRun } from './main.js';

// A reader that ends early (`berth logs x | head`) is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});
void cliRun(process.argv.slice(2), process.env).then((code) => (process.exitCode = code));
