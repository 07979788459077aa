import { examples, wholeNumber, type Commands } from '../session.js';

export const logsCommands: Commands = (program, session) => {
  const logs = program
    .command('logs <name>')
    .description('what an instance printed: serial output of a VM, output of a container')
    .option('-f, --follow', 'go on with what comes', false)
    .option('--tail-bytes <n>', 'begin this many bytes before the end', (t) => wholeNumber('--tail-bytes', t))
    .action(async (name: string, options: { follow: boolean; tailBytes?: number }) => {
      const s = session();
      const log = await s.api.logs({ project: s.project, instance: name, ...options });
      for await (const chunk of log) process.stdout.write(chunk);
    });
  examples(
    logs,
    `berth logs web
     berth logs web --tail-bytes 4096`,
  );
};
