import { useEffect, type ReactNode } from 'react';

/** Title, what belongs beside it, and the page below. */
export function Page({
  title,
  beside,
  actions,
  children,
}: {
  title: string;
  beside?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}) {
  useEffect(() => {
    document.title = `${title} · Berth`;
  }, [title]);
  return (
    <>
      <header className="page-head">
        <div className="page-title">
          <h1>{title}</h1>
          {beside}
        </div>
        {actions !== undefined && <div className="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

export function Panel({
  title,
  beside,
  children,
  className = '',
}: {
  title: string;
  beside?: ReactNode;
  children: ReactNode;
  className?: string;
}) {
  return (
    <section className={`panel ${className}`}>
      <header className="panel-head">
        <h2>{title}</h2>
        {beside}
      </header>
      {children}
    </section>
  );
}

/** Names and values, one under the other. */
export function Facts({ facts }: { facts: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** How much of something is used, in words and as a bar. */
export function Meter({
  label,
  used,
  total,
  show,
}: {
  label: string;
  used: number;
  total: number;
  show: (n: number) => string;
}) {
  const share = total === 0 ? 0 : Math.min(1, used / total);
  return (
    <div className="meter">
      <div className="meter-words">
        <span>{label}</span>
        <span>
          {show(used)} <span className="dim">of {show(total)}</span>
        </span>
      </div>
      <div className={`bar ${share > 0.9 ? 'bar-full' : ''}`} aria-hidden="true">
        <div style={{ width: `${share * 100}%` }} />
      </div>
    </div>
  );
}
