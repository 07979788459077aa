import { Button, TextInput } from '@mantine/core';
import { useState, type FormEvent, type ReactNode } from 'react';
import { ActButton, type ActLook } from './act-button.js';
import { Dialog } from './dialog.js';
import { Failure } from './notices.js';

/** What a confirmed act needs of its mutation. */
export interface Doing<Given> {
  readonly isPending: boolean;
  readonly error: unknown;
  readonly reset: () => void;
  readonly mutate: (given: Given, then: { onSuccess: () => void }) => void;
}

/** A button for what cannot be undone: it is done once the name of what may be lost was typed. */
export function Confirmed<Given = void>(
  props: Omit<ActLook, 'onClick'> & {
    title: string;
    name: string;
    act: Doing<Given>;
    /** What its mutation takes, where it takes something. */
    given?: Given;
    /** What to set up when the question is asked anew. */
    onOpen?: () => void;
    children: ReactNode;
  },
) {
  const { title, name, act, given, onOpen, children, ...look } = props;
  const [asking, setAsking] = useState(false);
  const open = (): void => {
    act.reset();
    onOpen?.();
    setAsking(true);
  };
  const close = (): void => setAsking(false);
  return (
    <>
      <ActButton {...look} loading={act.isPending} onClick={open} />
      <Dialog opened={asking} title={title} onClose={close}>
        <Question
          name={name}
          verb={look.verb}
          pending={act.isPending}
          error={act.error}
          onClose={close}
          onConfirm={() => act.mutate(given as Given, { onSuccess: close })}
        >
          {children}
        </Question>
      </Dialog>
    </>
  );
}

/** It is made anew each time that the dialog opens, so that nothing is typed already. */
function Question(props: {
  name: string;
  verb: string;
  pending: boolean;
  error: unknown;
  onClose: () => void;
  onConfirm: () => void;
  children: ReactNode;
}) {
  const { name, verb, pending, error, onClose, onConfirm, children } = props;
  const [typed, setTyped] = useState('');
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (typed === name) onConfirm();
  };
  return (
    <form onSubmit={submit} className="stack">
      <div className="stack">{children}</div>
      <TextInput
        label={`Type ${name} to confirm`}
        value={typed}
        onChange={(e) => setTyped(e.currentTarget.value)}
        autoComplete="off"
        spellCheck={false}
        data-autofocus
      />
      {error !== null && <Failure error={error} />}
      <div className="actions end">
        <Button variant="default" onClick={onClose}>
          Keep it
        </Button>
        <Button type="submit" color="red" disabled={typed !== name} loading={pending}>
          {verb}
        </Button>
      </div>
    </form>
  );
}
