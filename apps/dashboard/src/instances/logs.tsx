import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { api, type Instance } from '../api/client.js';
import { Empty, Failure } from '../parts/notices.js';
import { Panel } from '../parts/page.js';
import { Lines } from './lines.js';

/** So much is shown at first, bytes, and so many lines are kept. */
const tailBytes = 256 * 1024;
const most = 5000;
/** Output is drawn this often, milliseconds: a busy guest must not keep the page busy. */
const drawMs = 100;

/** What an instance prints, as it prints it: serial output of a machine, output of an image's process. */
export function Logs({ instance }: { instance: Instance }) {
  const { project, name, status } = instance;
  const [wrap, setWrap] = useState(true);
  // Each epoch has a log of its own; a new run goes on in the same.
  const { text, dropped, error, following } = useLog(project, name, `${status.epoch}`, status.state);
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (atEnd.current && box.current !== null) box.current.scrollTop = box.current.scrollHeight;
  }, [text]);
  const title = instance.spec.isolation === 'vm' ? 'Serial output' : 'Log';
  const beside = (
    <span className="actions">
      <span className="dim small" role="status">
        {following ? 'following' : 'not following'}
      </span>
      <label className="check">
        <input type="checkbox" checked={wrap} onChange={(e) => setWrap(e.currentTarget.checked)} /> Wrap
      </label>
    </span>
  );
  if (status.epoch === null)
    return (
      <Panel title={title}>
        <Empty title="It was never placed, so it has printed nothing">
          <p className="flat">Its decision tells what it waits for.</p>
        </Empty>
      </Panel>
    );
  return (
    <Panel title={title} beside={beside}>
      {error !== null && <Failure error={error} />}
      {dropped > 0 && (
        <p className="flat dim small">{dropped} earlier lines are not shown; ./berth logs has them.</p>
      )}
      <pre
        ref={box}
        className={wrap ? 'log log-wrap' : 'log'}
        role="log"
        aria-label={title}
        tabIndex={0}
        onScroll={(e) => {
          const { scrollTop, scrollHeight, clientHeight } = e.currentTarget;
          atEnd.current = scrollHeight - scrollTop - clientHeight < 30;
        }}
      >
        {text}
      </pre>
    </Panel>
  );
}

interface Log {
  readonly text: string;
  readonly dropped: number;
  readonly error: unknown;
  readonly following: boolean;
}

const nothing: Log = { text: '', dropped: 0, error: null, following: false };

/** Follows a log; taken up anew when the instance changes its epoch or comes to a state in which it prints. */
function useLog(project: string, name: string, epoch: string, state: string): Log {
  const [log, setLog] = useState(nothing);
  useEffect(() => {
    if (epoch === 'null') return;
    const stop = new AbortController();
    const lines = new Lines(most);
    let drawing: number | undefined;
    const draw = (following: boolean): void => {
      drawing ??= window.setTimeout(() => {
        drawing = undefined;
        if (!stop.signal.aborted)
          setLog({ text: lines.text(), dropped: lines.dropped, error: null, following });
      }, drawMs);
    };
    const follow = async (): Promise<void> => {
      const stream = await api.logs({
        project,
        instance: name,
        follow: true,
        tailBytes,
        signal: stop.signal,
      });
      const reader = stream.getReader();
      setLog((old) => ({ ...old, error: null, following: true }));
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        lines.add(value);
        draw(true);
      }
      clearTimeout(drawing);
      drawing = undefined;
      draw(false);
    };
    follow().catch((error: unknown) => {
      if (!stop.signal.aborted) setLog((old) => ({ ...old, error, following: false }));
    });
    return () => {
      stop.abort();
      clearTimeout(drawing);
    };
  }, [project, name, epoch, state]);
  return log;
}
