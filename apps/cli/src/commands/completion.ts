import { Argument } from 'commander';
import { completions, type Completing } from '../complete.js';
import { examples, say } from '../session.js';
import type { Command } from 'commander';

const scripts = {
  bash: `_berth() {
  mapfile -t COMPREPLY < <(berth __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _berth berth
`,
  zsh: `#compdef berth
_berth() {
  local -a found
  found=(\${(f)"$(berth __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)"})
  if (( \${#found} )); then compadd -a found; else _files; fi
}
compdef _berth berth
`,
  fish: `function __berth_complete
    set -l found (berth __complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)
    if test (count $found) -gt 0
        string join \\n -- $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c berth -f -a '(__berth_complete)'
`,
} as const;

/** `completing` gives what names are asked of; it must give up soon, for somebody waits with a finger on the tab key. */
export function completionCommands(program: Command, completing: () => Omit<Completing, 'words'>): void {
  const completion = program
    .command('completion')
    .description('print a script with which a shell completes commands, options and names')
    .addArgument(new Argument('<shell>', 'which shell').choices(['bash', 'zsh', 'fish']))
    .action((shell: keyof typeof scripts) => say(scripts[shell]));
  examples(
    completion,
    `source <(berth completion bash)
     berth completion zsh > _berth
     berth completion fish > berth.fish`,
  );
  program.command('__complete [words...]', { hidden: true }).action(async (words: string[]) => {
    const found = await completions(program, { ...completing(), words }).catch(() => []);
    say(found.map((word) => `${word}\n`).join(''));
  });
}
