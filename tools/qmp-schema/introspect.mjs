import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const LIMIT_MS = 20_000;

/**
 * Starts the installed QEMU without a machine and asks it for its schema (QMP reference, query-qmp-schema).
 * @returns {Promise<{version: string, schema: object[]}>}
 */
export async function introspect(program = 'qemu-system-x86_64') {
  const args = ['-machine', 'none', '-nodefaults', '-no-user-config', '-display', 'none'];
  const monitor = ['-chardev', 'stdio,id=qmp,signal=off', '-mon', 'chardev=qmp,mode=control'];
  const child = spawn(program, [...args, ...monitor], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const line = await Promise.race([answers.next(), ended.then(() => ({ done: true }))]);
    if (line.done) throw new Error(`${program} ended before it answered`);
    return JSON.parse(line.value);
  };
  const ask = async (command) => {
    child.stdin.write(`${JSON.stringify({ execute: command })}\n`);
    for (;;) {
      const answer = await next();
      if ('return' in answer) return answer.return;
      if ('error' in answer) throw new Error(`${command}: ${answer.error.desc}`);
    }
  };
  try {
    const { major, minor, micro } = (await next()).QMP.version.qemu;
    await ask('qmp_capabilities');
    const schema = await ask('query-qmp-schema');
    return { version: `${major}.${minor}.${micro}`, schema };
  } finally {
    child.stdin.end(`${JSON.stringify({ execute: 'quit' })}\n`);
    await ended.catch(() => undefined);
    clearTimeout(timer);
  }
}
