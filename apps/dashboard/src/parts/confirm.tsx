import { Button, Modal, TextInput } from '@mantine/core';
import { useEffect, useState, type FormEvent, type ReactNode } from 'react';
import { Failure } from './notices.js';

/** What cannot be undone is confirmed by typing the name of what goes. */
export function ConfirmByName(props: {
  opened: boolean;
  title: string;
  name: string;
  verb: string;
  pending: boolean;
  error: unknown;
  onClose: () => void;
  onConfirm: () => void;
  children: ReactNode;
}) {
  const { opened, title, name, verb, pending, error, onClose, onConfirm, children } = props;
  const [typed, setTyped] = useState('');
  useEffect(() => setTyped(''), [opened]);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (typed === name) onConfirm();
  };
  return (
    <Modal.Root opened={opened} onClose={onClose} centered>
      <Modal.Overlay />
      <Modal.Content>
        {/* Mantine's Modal.Header is a <header>: with the page's it would be a second banner. */}
        <div className="dialog-head">
          <Modal.Title>{title}</Modal.Title>
          <Modal.CloseButton aria-label="Close" />
        </div>
        <Modal.Body>
          <form onSubmit={submit} className="stack">
            {children}
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
        </Modal.Body>
      </Modal.Content>
    </Modal.Root>
  );
}
