import { Alert, Button } from '@mantine/core';
import type { ReactNode } from 'react';
import { said } from '../api/problem.js';

/** What failed and what to do, where the thing would have been. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const { text, remedy, fields, traceId } = said(error);
  return (
    <Alert color="red" variant="light" title={text} role="alert">
      {remedy !== null && <p className="flat">{remedy}</p>}
      {Object.entries(fields).map(([path, message]) => (
        <p className="flat" key={path}>
          <code>{path}</code> {message}
        </p>
      ))}
      {traceId !== null && <p className="flat dim small">Trace {traceId}</p>}
      {retry !== undefined && (
        <Button size="compact-sm" variant="default" mt="xs" onClick={retry}>
          Try again
        </Button>
      )}
    </Alert>
  );
}

/** Nothing is there yet, and what to do about it. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p className="empty-title">{title}</p>
      {children}
    </div>
  );
}

/** Holds the place of what is being read, so that nothing jumps when it comes. */
export function Waiting({ rows = 6 }: { rows?: number }) {
  return (
    <div role="status" aria-label="Loading" className="waiting">
      {Array.from({ length: rows }, (_, i) => (
        <div key={i} className="bone" />
      ))}
    </div>
  );
}
