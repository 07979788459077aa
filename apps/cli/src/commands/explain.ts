import { answer } from '@berth/client';
import { decisionText, explanationText } from '../explain.js';
import { objectText } from '../output.js';
import { examples, ofInstance, say, type Commands } from '../session.js';

export const explainCommands: Commands = (program, session) => {
  const explain = program
    .command('explain <name>')
    .description('why an instance is where it is, or still waits')
    .option('--host <host>', 'judge this host, as of now')
    .option('--now', 'judge every host anew instead of showing the stored decision')
    .action(async (name: string, options: { host?: string; now?: boolean }) => {
      const s = session();
      if (options.host === undefined && options.now !== true) {
        const path = '/v1/projects/{project}/instances/{name}/decision';
        const decision = await answer(s.api.rest.GET(path, { params: ofInstance(s, name) }));
        return say(s.format === 'table' ? decisionText(decision) : objectText(decision, s.format));
      }
      const query = options.host === undefined ? {} : { host: options.host };
      const path = '/v1/projects/{project}/instances/{name}/explain';
      const explanation = await answer(s.api.rest.GET(path, { params: { ...ofInstance(s, name), query } }));
      say(s.format === 'table' ? explanationText(explanation) : objectText(explanation, s.format));
    });
  examples(
    explain,
    `berth explain web
     berth explain web --now
     berth explain web --host host-1 -o yaml`,
  );
};
