import { Button, Checkbox, TextInput, type TextInputProps } from '@mantine/core';
import { useEffect, useState, type ReactNode } from 'react';
import { Icon } from '../parts/icons.js';
import type { Draft } from './form.js';

type OfType<T> = { [K in keyof Draft]: Draft[K] extends T ? K : never }[keyof Draft];
/** Fields that are typed. */
export type TextKey = { [K in keyof Draft]: string extends Draft[K] ? K : never }[keyof Draft];

/** What every part of the form needs of the whole. */
export interface Form {
  readonly draft: Draft;
  readonly change: (part: Partial<Draft>) => void;
  /** What the API says of a field, by its JSON pointer in the request. */
  readonly error: (pointer: string) => string | undefined;
}

interface Of<K> {
  readonly form: Form;
  readonly of: K;
  readonly label: string;
  /** JSON pointer of what it becomes in the request. */
  readonly at: string;
}

type Input = Omit<TextInputProps, 'form' | 'label' | 'value' | 'error' | 'onChange'>;

/** One line, sent as it was typed: what is wrong with it is said by the API, at this field. */
export function Text({ form, of, label, at, ...more }: Of<TextKey> & Input) {
  return (
    <TextInput
      label={label}
      value={form.draft[of]}
      error={form.error(at)}
      onChange={(e) => form.change({ [of]: e.currentTarget.value })}
      autoComplete="off"
      spellCheck={false}
      {...more}
    />
  );
}

export function Num(props: Of<TextKey> & Input) {
  return <Text inputMode="numeric" {...props} />;
}

export function Check({ form, of, label, at, description }: Of<OfType<boolean>> & { description?: string }) {
  return (
    <Checkbox
      label={label}
      description={description}
      checked={form.draft[of]}
      error={form.error(at)}
      onChange={(e) => form.change({ [of]: e.currentTarget.checked })}
    />
  );
}

/** A part of the form that most do without: folded, with what is in it beside its title. It opens by itself where something is wrong in it. */
export function Folded(props: {
  title: string;
  /** In few words what is chosen; empty where nothing is. */
  chosen: string;
  /** Whether the API refuses something in it. */
  wrong: boolean;
  children: ReactNode;
}) {
  const { title, chosen, wrong, children } = props;
  const [open, setOpen] = useState(false);
  useEffect(() => {
    if (wrong) setOpen(true);
  }, [wrong]);
  return (
    <details className="panel folded" open={open} onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>
        <h2>{title}</h2>
        <span className="dim small">{chosen === '' ? 'none' : chosen}</span>
      </summary>
      {open && <div className="folded-in">{children}</div>}
    </details>
  );
}

/** Several of one thing: each with its fields, and a button to leave it out again. */
export function Rows<T>(props: {
  /** What one of them is called, as in "Add a volume". */
  one: string;
  rows: readonly T[];
  /** A further one; null where there can be none. */
  next: T | null;
  onChange: (rows: readonly T[]) => void;
  children: (row: T, i: number, change: (part: Partial<T>) => void) => ReactNode;
}) {
  const { one, rows, next, onChange, children } = props;
  return (
    <div className="stack">
      {rows.map((row, i) => (
        <div key={i} className="form-row" role="group" aria-label={`${one} ${i + 1}`}>
          <div className="fields">
            {children(row, i, (part) => onChange(rows.map((r, at) => (at === i ? { ...r, ...part } : r))))}
          </div>
          <button
            type="button"
            className="icon-button"
            aria-label={`Leave ${one} ${i + 1} out`}
            title="Leave it out"
            onClick={() => onChange(rows.filter((_, at) => at !== i))}
          >
            <Icon name="trash" />
          </button>
        </div>
      ))}
      {next !== null && (
        <Button
          size="xs"
          variant="default"
          className="add"
          leftSection={<Icon name="plus" />}
          onClick={() => onChange([...rows, next])}
        >
          Add a {one}
        </Button>
      )}
    </div>
  );
}
