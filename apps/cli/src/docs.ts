import type { Command } from 'commander';
import { exitCodes, exitMeanings } from './failure.js';

/** docs/cli.md: every command as its help tells it. */
export function docsText(program: Command): string {
  const names = Object.keys(exitCodes) as (keyof typeof exitCodes)[];
  const codes = names.map((name) => `| ${exitCodes[name]} | ${exitMeanings[name]} |`).join('\n');
  const sections = visible(program).map((command) => `## ${pathOf(command)}\n\n${fenced(helpOf(command))}`);
  return `# Command line

Written by \`tools/cli-docs\` from the help of the commands; a test runs each example. \`./berth\` in the checkout is the
command; a link to it on the path (\`ln -s "$PWD/berth" /usr/local/bin/berth\`) makes it \`berth\`.

${fenced(helpOf(program))}
## Exit codes

| code | meaning |
| --- | --- |
${codes}

With \`-o json\` and \`-o yaml\` the objects are the API's own; what follows (\`--watch\`, \`events -f\`) prints one JSON
document per line. What a command says to people goes to the standard error. Only \`console\` and \`exec -it\` need a terminal,
and no command uses colours. \`exec\` ends with the exit code of its program, 128 + n after signal n; the codes above are those of
a program that was not run. Ctrl-C ends the program of an \`exec\` that has no terminal.

${sections.join('\n')}`;
}

const visible = (command: Command): Command[] =>
  command
    .createHelp()
    .visibleCommands(command)
    .filter((c) => c.name() !== 'help')
    .flatMap((c) => [c, ...visible(c)]);

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

function helpOf(command: Command): string {
  let text = '';
  const writeOut = (part: string): void => void (text += part);
  command.configureHelp({ showGlobalOptions: false, helpWidth: 110 }).configureOutput({ writeOut });
  command.outputHelp();
  return text.trimEnd();
}

const fenced = (text: string): string => `\`\`\`\n${text}\n\`\`\`\n`;
