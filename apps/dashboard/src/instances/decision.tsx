import type { Decision, Verdict } from '../api/client.js';
import { cpus, mib } from '../parts/format.js';
import { State } from '../parts/state.js';

type Shown = Pick<
  Decision,
  'outcome' | 'host' | 'considered' | 'rejected' | 'best' | 'nearest' | 'verdicts' | 'summary'
>;

/** Hosts worth showing: all of them, or of a large cluster the best and those that came closest. Pure. */
export function verdictsOf(decision: Shown): Verdict[] {
  const all = decision.verdicts ?? [...decision.best, ...decision.nearest];
  return [...all].sort(
    (a, b) =>
      Number(b.fits) - Number(a.fits) || (b.score ?? 0) - (a.score ?? 0) || (a.host < b.host ? -1 : 1),
  );
}

/** A decision of the scheduler: which host, and of each other one what it lacks. */
export function DecisionView({ decision, narrow = false }: { decision: Shown; narrow?: boolean }) {
  const verdicts = verdictsOf(decision);
  const rest = decision.considered - verdicts.length;
  return (
    <>
      <p className="flat decision-summary">
        <State
          state={decision.outcome === 'placed' ? (decision.host ?? 'placed') : 'no host fits'}
          tone={decision.outcome === 'placed' ? 'good' : 'wait'}
        />
        <span>{decision.summary}</span>
      </p>
      {verdicts.length > 0 && (
        <table className="list">
          <thead>
            <tr>
              <th scope="col">Host</th>
              <th scope="col">Verdict</th>
              <th scope="col">Need</th>
              <th scope="col">Have</th>
              {!narrow && (
                <th scope="col" className="from-l">
                  Free
                </th>
              )}
              <th scope="col" className="from-m num">
                Score
              </th>
            </tr>
          </thead>
          <tbody>
            {verdicts.map((v) => (
              <tr key={v.hostId}>
                <td>{v.host}</td>
                <td>
                  {v.fits ? (
                    <State
                      state={v.host === decision.host ? 'chosen' : 'fits'}
                      tone={v.host === decision.host ? 'good' : 'off'}
                    />
                  ) : (
                    <State state={`fails ${v.failed?.filter ?? 'a filter'}`} tone="bad" />
                  )}
                </td>
                <td>{v.failed?.need ?? ''}</td>
                <td>{v.failed?.have ?? ''}</td>
                {!narrow && (
                  <td className="from-l dim">
                    {cpus(v.free.cpuMillis)}, {mib(v.free.memoryMiB)}, disk {mib(v.free.diskMiB)}
                  </td>
                )}
                <td
                  className="from-m num"
                  title={Object.entries(v.scores)
                    .map(([k, n]) => `${k} ${n}`)
                    .join(', ')}
                >
                  {v.score === null ? '' : v.score.toFixed(1)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {rest > 0 && <p className="flat dim small">{rest} more hosts were considered.</p>}
    </>
  );
}
