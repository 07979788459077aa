import { Alert, Button, SegmentedControl } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useCallback, useRef, useState } from 'react';
import { api, type Instance } from '../api/client.js';
import { said } from '../api/problem.js';
import { covers, sessionQuery } from '../api/session.js';
import { Empty, Waiting } from '../parts/notices.js';
import { Panel } from '../parts/page.js';
import { runs, type TerminalState } from '../terminal/state.js';

const Screen = lazy(() => import('../display/screen.js').then((m) => ({ default: m.Screen })));

/** The screen of a machine. It ends when the page or this tab is left. */
export function InstanceDisplay({ instance }: { instance: Instance }) {
  const session = useQuery(sessionQuery).data;
  const [wanted, setWanted] = useState(false);
  const [head, setHead] = useState(0);
  const { state } = instance.status;
  if (!runs(state) && !wanted)
    return (
      <Panel title="Display">
        <Empty title={`It is ${state}`}>
          <p className="flat">There is a display only while it runs.</p>
        </Empty>
      </Panel>
    );
  if (!covers(session, 'operator'))
    return (
      <Panel title="Display">
        <Empty title="To look on needs the role operator">
          <p className="flat">
            You are signed in as {session?.role ?? 'nobody'}, who may take pictures only.
          </p>
        </Empty>
        <Heads instance={instance} head={head} choose={setHead} />
        <Screenshot instance={instance} head={head} />
      </Panel>
    );
  if (wanted) return <Session instance={instance} head={head} choose={setHead} />;
  return (
    <Panel title="Display">
      <div className="terminal-choice">
        <Button onClick={() => setWanted(true)}>Open the display</Button>
        <p className="flat dim small">
          Screen, keyboard and pointer. All who have it open see the same, and all may type.
        </p>
      </div>
      <Heads instance={instance} head={head} choose={setHead} />
      <Screenshot instance={instance} head={head} />
    </Panel>
  );
}

type Keys = { readonly ctrlAltDelete: () => void };

function Session({
  instance,
  head,
  choose,
}: {
  instance: Instance;
  head: number;
  choose: (head: number) => void;
}) {
  const { project, name, status } = instance;
  const [state, setState] = useState<TerminalState>({ at: 'opening' });
  const [attempt, setAttempt] = useState(1);
  const [keys, setKeys] = useState<Keys | null>(null);
  const button = useRef<HTMLButtonElement>(null);
  const leave = useCallback(() => button.current?.focus(), []);
  const over = state.at === 'over';
  const beside = (
    <span className="dim small" role="status">
      {over ? 'not connected' : state.at === 'open' ? 'connected' : 'connecting'}
    </span>
  );
  return (
    <Panel title="Display" beside={beside}>
      <p className="flat dim small" id="display-keys">
        Keys go to the machine, Tab too. <kbd>Ctrl</kbd>+<kbd>M</kbd> leaves it for the button below.
      </p>
      <Heads instance={instance} head={head} choose={choose} />
      <div role="group" aria-label={`Display of ${name}`} aria-describedby="display-keys">
        <Suspense fallback={<Waiting rows={8} />}>
          <Screen {...{ project, name, head, attempt, leave }} tell={setState} keys={setKeys} />
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
          onClick={() => setAttempt(attempt + 1)}
        >
          Connect again
        </Button>
        <Button
          size="compact-sm"
          variant="default"
          disabled={keys === null}
          onClick={() => keys?.ctrlAltDelete()}
        >
          Send Ctrl+Alt+Delete
        </Button>
      </div>
      <Screenshot instance={instance} head={head} />
    </Panel>
  );
}

/** Which screen, where there are several. */
function Heads({
  instance: { name, spec },
  head,
  choose,
}: {
  instance: Instance;
  head: number;
  choose: (head: number) => void;
}) {
  const displays = spec.displays ?? 1;
  if (displays === 1) return null;
  return (
    <SegmentedControl
      aria-label={`Screens of ${name}`}
      size="xs"
      value={String(head)}
      onChange={(value) => choose(Number(value))}
      data={Array.from({ length: displays }, (_, i) => ({ value: String(i), label: `Screen ${i + 1}` }))}
    />
  );
}

/** Saves what is on the screen. */
function Screenshot({ instance: { project, name, status }, head }: { instance: Instance; head: number }) {
  const taking = useMutation({
    mutationFn: async () => {
      const png = await api.screenshot({ project, instance: name, head });
      const link = document.createElement('a');
      link.href = URL.createObjectURL(new Blob([png], { type: 'image/png' }));
      link.download = head === 0 ? `${name}.png` : `${name}-${head + 1}.png`;
      link.click();
      URL.revokeObjectURL(link.href);
    },
  });
  const failed = taking.error === null ? null : said(taking.error);
  return (
    <>
      <div className="actions">
        <Button
          size="compact-sm"
          variant="default"
          loading={taking.isPending}
          disabled={!runs(status.state)}
          onClick={() => taking.mutate()}
        >
          Save a screenshot
        </Button>
      </div>
      {failed !== null && (
        <Alert color="red" variant="light" title={failed.text} role="alert">
          {failed.remedy !== null && <p className="flat">{failed.remedy}</p>}
        </Alert>
      )}
    </>
  );
}
