import { Alert, Button, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useCallback, useRef, useState, type FormEvent } from 'react';
import type { Instance } from '../api/client.js';
import { covers, sessionQuery } from '../api/session.js';
import { Empty, Waiting } from '../parts/notices.js';
import { Panel } from '../parts/page.js';
import type { ScreenProps } from '../terminal/screen.js';
import { runs, type TerminalState } from '../terminal/state.js';
import { wordsOf } from './typed.js';

const Screen = lazy(() => import('../terminal/screen.js').then((m) => ({ default: m.Screen })));

/** The serial console of a machine, or a program in a container or microVM. It ends when the page or this tab is left. */
export function InstanceTerminal({ instance }: { instance: Instance }) {
  const { spec, status } = instance;
  const session = useQuery(sessionQuery).data;
  const machine = spec.isolation === 'vm';
  const title = machine ? 'Console' : 'Terminal';
  const [opens, setOpens] = useState<ScreenProps['opens'] | null>(null);
  if (!covers(session, 'operator'))
    return (
      <Panel title={title}>
        <Empty title="A terminal needs the role operator">
          <p className="flat">You are signed in as {session?.role ?? 'nobody'}, who may look only.</p>
        </Empty>
      </Panel>
    );
  if (opens === null && !runs(status.state))
    return (
      <Panel title={title}>
        <Empty title={`It is ${status.state}`}>
          <p className="flat">
            There is a terminal only while it runs. What it printed is in the tab beside.
          </p>
        </Empty>
      </Panel>
    );
  if (opens === null) return <Panel title={title}>{<Choice machine={machine} open={setOpens} />}</Panel>;
  return <Session instance={instance} title={title} opens={opens} reopen={setOpens} />;
}

type Open = (opens: ScreenProps['opens']) => void;

function Choice({ machine, open }: { machine: boolean; open: Open }) {
  const [program, setProgram] = useState('sh');
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    open(machine ? { console: true } : { program: wordsOf(program) });
  };
  return (
    <form className="terminal-choice" onSubmit={submit}>
      {!machine && (
        <TextInput
          label="Program"
          description="With its arguments, as the image has it"
          value={program}
          onChange={(e) => setProgram(e.currentTarget.value)}
          autoComplete="off"
          spellCheck={false}
        />
      )}
      <Button type="submit" disabled={!machine && wordsOf(program).length === 0}>
        {machine ? 'Open the console' : 'Open a terminal'}
      </Button>
      <p className="flat dim small">
        {machine
          ? 'The serial console. All who have it open see the same.'
          : 'The program ends when this tab is left.'}
      </p>
    </form>
  );
}

function Session({
  instance: { project, name, status },
  title,
  opens,
  reopen,
}: {
  instance: Instance;
  title: string;
  opens: ScreenProps['opens'];
  reopen: Open;
}) {
  const [state, setState] = useState<TerminalState>({ at: 'opening' });
  const [reader, setReader] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const leave = useCallback(() => button.current?.focus(), []);
  const over = state.at === 'over';
  const beside = (
    <span className="actions">
      <span className="dim small" role="status">
        {over ? 'not connected' : state.at === 'open' ? 'connected' : 'connecting'}
      </span>
      <label className="check">
        <input type="checkbox" checked={reader} onChange={(e) => setReader(e.currentTarget.checked)} /> Screen
        reader
      </label>
    </span>
  );
  return (
    <Panel title={title} beside={beside}>
      <p className="flat dim small" id="terminal-keys">
        Keys go to the terminal, Tab too. <kbd>Ctrl</kbd>+<kbd>M</kbd> leaves it for the button below.
      </p>
      <div role="group" aria-label={`${title} of ${name}`} aria-describedby="terminal-keys">
        <Suspense fallback={<Waiting rows={8} />}>
          <Screen {...{ project, name, opens, reader, leave }} tell={setState} />
        </Suspense>
      </div>
      {over && (
        <Alert color={state.bad ? 'red' : 'gray'} variant="light" title={state.text} role="alert">
          {state.remedy !== null && <p className="flat">{state.remedy}</p>}
          {!runs(status.state) && <p className="flat">It is {status.state}: start it first.</p>}
        </Alert>
      )}
      <div className="actions">
        <Button
          ref={button}
          size="compact-sm"
          variant="default"
          disabled={over && !runs(status.state)}
          onClick={() => reopen({ ...opens })}
        >
          {over ? 'Connect again' : 'Begin anew'}
        </Button>
      </div>
    </Panel>
  );
}
