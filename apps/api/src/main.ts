import 'reflect-metadata';
import { berthVersion } from '@berth/model';
import { pino } from 'pino';
import { startApi } from './app.js';
import { apiPaths, ConfigError, configLoad } from './config.js';

/** How long a stop may take before the process ends anyway, ms. */
const stopWithinMs = 8000;

/** `main.js [--version]`: the API process. Ends with 2 for a bad configuration and 1 for everything else. */
async function main(): Promise<void> {
  if (process.argv[2] === '--version') {
    process.stdout.write(`${berthVersion}\n`);
    process.exit();
  }
  const paths = apiPaths(process.env['BERTH_ROOT'] ?? '');
  const config = configLoad(process.env, paths.configFile);
  const logger = pino({
    level: config.logLevel,
    redact: ['req.headers.authorization', '*.token', '*.secret'],
  });
  const app = await startApi(config, paths, logger);
  const stop = (signal: string): void => {
    logger.info({ signal }, 'stopping');
    setTimeout(() => process.exit(1), stopWithinMs).unref();
    void app.close().then(
      () => process.exit(0),
      (err: unknown) => {
        logger.error({ err }, 'the stop failed');
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof ConfigError ? error.message : (error as Error).stack}\n`);
  process.exit(error instanceof ConfigError ? 2 : 1);
});
