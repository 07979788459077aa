import { useComputedColorScheme } from '@mantine/core';
import type { TerminalOpens } from '@berth/client';
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';
import { useEffect, useRef } from 'react';
import { api } from '../api/client.js';
import { said } from '../api/problem.js';
import { TerminalConnection } from './connection.js';
import type { TerminalState } from './state.js';
import { themes } from './themes.js';

/** Lines that can be scrolled back to. */
const scrollback = 5000;

export interface ScreenProps {
  readonly project: string;
  readonly name: string;
  /** What is opened; another object opens another terminal on the same screen. */
  readonly opens: { readonly console: true } | { readonly program: readonly string[] };
  readonly reader: boolean;
  readonly tell: (state: TerminalState) => void;
  /** The key that leaves the terminal was pressed. */
  readonly leave: () => void;
}

/** The screen of one terminal. It is fitted to its box, and the size is told. */
export function Screen({ project, name, opens, reader, tell, leave }: ScreenProps) {
  const box = useRef<HTMLDivElement>(null);
  const xterm = useRef<{ terminal: Terminal; fit: FitAddon } | null>(null);
  const scheme = useComputedColorScheme('light');
  const left = useRef(leave);
  left.current = leave;

  useEffect(() => {
    if (box.current === null) return;
    const terminal = new Terminal({
      fontFamily: getComputedStyle(box.current).fontFamily,
      fontSize: 13,
      scrollback,
      minimumContrastRatio: 4.5,
    });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    terminal.open(box.current);
    fit.fit();
    // Ctrl+M is the same as Enter to a terminal, so nothing inside needs it.
    terminal.attachCustomKeyEventHandler((event) => {
      const leaves = event.ctrlKey && !event.altKey && !event.metaKey && event.key.toLowerCase() === 'm';
      if (leaves && event.type === 'keydown') left.current();
      if (leaves) event.preventDefault();
      return !leaves;
    });
    const resized = new ResizeObserver(() => fit.fit());
    resized.observe(box.current);
    xterm.current = { terminal, fit };
    return () => {
      resized.disconnect();
      terminal.dispose();
      xterm.current = null;
    };
  }, []);

  useEffect(() => {
    if (xterm.current !== null) xterm.current.terminal.options.theme = themes[scheme];
  }, [scheme]);
  useEffect(() => {
    if (xterm.current !== null) xterm.current.terminal.options.screenReaderMode = reader;
  }, [reader]);

  useEffect(() => {
    const terminal = xterm.current?.terminal;
    if (terminal === undefined) return;
    terminal.reset();
    return connected(terminal, { project, name, opens }, tell);
  }, [project, name, opens, tell]);

  return <div ref={box} className="terminal-screen" />;
}

/** Opens a terminal of the API on a screen. The result ends it. */
function connected(
  terminal: Terminal,
  { project, name, opens }: Pick<ScreenProps, 'project' | 'name' | 'opens'>,
  tell: (state: TerminalState) => void,
): () => void {
  const stop = new AbortController();
  let connection: TerminalConnection | null = null;
  const size = { columns: terminal.cols, rows: terminal.rows };
  const wanted: TerminalOpens =
    'console' in opens ? { console: {} } : { exec: { command: [...opens.program], tty: true, size } };
  const encoder = new TextEncoder();
  const listening = [
    terminal.onData((text) => connection?.type(encoder.encode(text))),
    terminal.onBinary((text) => connection?.type(Uint8Array.from(text, (c) => c.charCodeAt(0)))),
    terminal.onResize(({ cols, rows }) => connection?.resize(cols, rows)),
  ];
  tell({ at: 'opening' });
  api
    .terminalAddress({ project, instance: name, opens: wanted, signal: stop.signal })
    .then((url) => {
      if (stop.signal.aborted) return;
      connection = new TerminalConnection(new WebSocket(url), {
        output: (bytes, taken) => terminal.write(bytes, taken),
        state: (state) => {
          if (state.at === 'open') {
            connection?.resize(terminal.cols, terminal.rows);
            terminal.focus();
          }
          tell(state);
        },
      });
    })
    .catch((error: unknown) => {
      if (stop.signal.aborted) return;
      const { text, remedy } = said(error);
      tell({ at: 'over', text, remedy, bad: true });
    });
  return () => {
    stop.abort();
    connection?.close();
    for (const each of listening) each.dispose();
  };
}
