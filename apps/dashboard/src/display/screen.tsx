import RFB from '@novnc/novnc';
import { useEffect, useRef } from 'react';
import { api } from '../api/client.js';
import { said } from '../api/problem.js';
import type { TerminalState } from '../terminal/state.js';
import { overOf } from './over.js';

/** Keysym of X11, and the names of its keys. */
const CONTROL = 0xffe3;
const controls = ['ControlLeft', 'ControlRight'];

export interface DisplayProps {
  readonly project: string;
  readonly name: string;
  /** Which of its screens, counted from 0. */
  readonly head: number;
  /** Another number opens another connection. */
  readonly attempt: number;
  readonly tell: (state: TerminalState) => void;
  /** What can be pressed beside the screen, while there is one. */
  readonly keys: (keys: { readonly ctrlAltDelete: () => void } | null) => void;
  /** The key that leaves the screen was pressed. */
  readonly leave: () => void;
}

/** The screen of one machine by VNC, scaled to its box. */
export function Screen({ project, name, head, attempt, tell, keys, leave }: DisplayProps) {
  const box = useRef<HTMLDivElement>(null);
  const left = useRef(leave);
  left.current = leave;

  useEffect(() => {
    const target = box.current;
    if (target === null) return;
    const stop = new AbortController();
    let rfb: RFB | null = null;
    // Before noVNC sees it: without such a key whoever uses no mouse could not leave.
    const pressed = (event: KeyboardEvent): void => {
      if (!event.ctrlKey || event.altKey || event.metaKey || event.key.toLowerCase() !== 'm') return;
      event.preventDefault();
      event.stopPropagation();
      // Its release will not be heard here.
      for (const code of controls) rfb?.sendKey(CONTROL, code, false);
      left.current();
    };
    target.addEventListener('keydown', pressed, { capture: true, signal: stop.signal });
    tell({ at: 'opening' });
    api
      .terminalAddress({ project, instance: name, opens: { display: { head } }, signal: stop.signal })
      .then((url) => {
        if (stop.signal.aborted) return;
        rfb = connected(target, url, name, (state) => {
          if (!stop.signal.aborted) tell(state);
        });
        const open = rfb;
        open.addEventListener('connect', () => {
          if (!stop.signal.aborted) keys({ ctrlAltDelete: () => open.sendCtrlAltDel() });
        });
        open.addEventListener('disconnect', () => {
          rfb = null;
          if (!stop.signal.aborted) keys(null);
        });
      })
      .catch((error: unknown) => {
        if (stop.signal.aborted) return;
        const { text, remedy } = said(error);
        tell({ at: 'over', text, remedy, bad: true });
      });
    return () => {
      stop.abort();
      keys(null);
      rfb?.disconnect();
      target.replaceChildren();
    };
  }, [project, name, head, attempt, tell, keys]);

  return <div ref={box} className="display-screen" />;
}

function connected(target: HTMLElement, url: URL, name: string, tell: (state: TerminalState) => void): RFB {
  const socket = new WebSocket(url);
  const rfb = new RFB(target, socket, { shared: true });
  rfb.scaleViewport = true;
  rfb.background = 'transparent';
  // Lossless: text is what is mostly looked at.
  rfb.qualityLevel = 9;
  const canvas = target.querySelector('canvas');
  canvas?.setAttribute('role', 'application');
  canvas?.setAttribute('aria-label', `Screen of ${name}`);
  if (canvas) canvas.tabIndex = 0;
  let opened = false;
  rfb.addEventListener('connect', () => {
    opened = true;
    rfb.focus();
    tell({ at: 'open' });
  });
  socket.addEventListener('close', ({ code, reason }) => tell(overOf(code, reason, opened)));
  return rfb;
}
