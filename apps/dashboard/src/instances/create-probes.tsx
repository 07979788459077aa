import { NativeSelect, TextInput } from '@mantine/core';
import { Folded, type Form } from './fields.js';
import { probeKinds, type ProbeDraft, type ProbeKind } from './form-parts.js';

const told: Readonly<Record<ProbeKind, readonly [title: string, what: string]>> = {
  startup: ['Start-up', 'Holds the others back until it succeeds once; one that fails ends the run.'],
  readiness: ['Readiness', 'Says whether it can do its work. Nothing else follows.'],
  liveness: ['Liveness', 'One that fails ends the run, and what follows is what is said for when it ends.'],
};

/** What its host asks it while it runs, to know how it is. */
export function Probes({ form }: { form: Form }) {
  const { draft, change, error } = form;
  const asked = probeKinds.filter((kind) => draft.probes[kind].ask !== 'none');
  return (
    <Folded title="Health probes" chosen={asked.join(', ')} wrong={error('/spec/probes') !== undefined}>
      {probeKinds.map((kind) => (
        <Probe
          key={kind}
          {...{ form, kind }}
          probe={draft.probes[kind]}
          edit={(part) => change({ probes: { ...draft.probes, [kind]: { ...draft.probes[kind], ...part } } })}
        />
      ))}
    </Folded>
  );
}

function Probe(props: {
  form: Form;
  kind: ProbeKind;
  probe: ProbeDraft;
  edit: (part: Partial<ProbeDraft>) => void;
}) {
  const { form, kind, probe, edit } = props;
  const at = `/spec/probes/${kind}`;
  const [title, what] = told[kind];
  const text = (key: Exclude<keyof ProbeDraft, 'ask'>, label: string, under: string, placeholder = '') => (
    <TextInput
      label={label}
      value={probe[key]}
      placeholder={placeholder}
      error={form.error(`${at}/${under}`)}
      onChange={(e) => edit({ [key]: e.currentTarget.value })}
      autoComplete="off"
      spellCheck={false}
    />
  );
  return (
    <div role="group" aria-label={`${title} probe`}>
      <div className="fields">
        <NativeSelect
          label={title}
          description={what}
          className="whole"
          value={probe.ask}
          onChange={(e) => edit({ ask: e.currentTarget.value as ProbeDraft['ask'] })}
          data={[
            { value: 'none', label: 'not asked' },
            { value: 'http', label: 'by HTTP, of its first address' },
            { value: 'tcp', label: 'by a connection to its first address' },
            ...(form.draft.isolation === 'vm' ? [] : [{ value: 'exec', label: 'by a program in it' }]),
          ]}
        />
        {probe.ask === 'exec' && text('command', 'Program and its arguments', 'exec', 'pg_isready -q')}
        {(probe.ask === 'http' || probe.ask === 'tcp') && text('port', 'Port', `${probe.ask}/port`)}
        {probe.ask === 'http' && text('path', 'Path', 'http/path', '/')}
        {probe.ask !== 'none' && (
          <>
            {text('intervalSeconds', 'Every, seconds', 'intervalSeconds', '10')}
            {text('timeoutSeconds', 'Has failed after, seconds', 'timeoutSeconds', '5')}
            {text('failureThreshold', 'Failures in a row that count', 'failureThreshold', '3')}
            {kind !== 'readiness' &&
              text('startPeriodSeconds', 'Failures do not count for, seconds', 'startPeriodSeconds', '0')}
          </>
        )}
      </div>
    </div>
  );
}
