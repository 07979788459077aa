import { Modal } from '@mantine/core';
import type { ReactNode } from 'react';

/** A question over the page. What is in it is there while it is open. */
export function Dialog(props: { opened: boolean; title: string; onClose: () => void; children: ReactNode }) {
  const { opened, title, onClose, children } = props;
  return (
    <Modal.Root opened={opened} onClose={onClose} centered>
      <Modal.Overlay />
      <Modal.Content>
        {/* Mantine's Modal.Header is a <header>: with the page's it would be a second banner. */}
        <div className="dialog-head">
          <Modal.Title>{title}</Modal.Title>
          <Modal.CloseButton aria-label="Close" />
        </div>
        <Modal.Body>{children}</Modal.Body>
      </Modal.Content>
    </Modal.Root>
  );
}
