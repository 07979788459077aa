import type { UseMutationResult } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import { ConfirmByName } from './confirm.js';
import { Icon } from './icons.js';

/** A button of a list, whose act is confirmed by typing the name of what is lost. */
export function SureButton(props: {
  act: UseMutationResult<unknown, Error, void>;
  icon: 'restart' | 'trash';
  verb: string;
  label: string;
  title: string;
  name: string;
  disabled?: boolean;
  hint: string;
  children: ReactNode;
}) {
  const { act, icon, verb, label, title, name, disabled = false, hint, children } = props;
  const [confirming, setConfirming] = useState(false);
  return (
    <>
      <button
        type="button"
        className="icon-button"
        aria-label={label}
        title={hint}
        disabled={disabled}
        onClick={() => setConfirming(true)}
      >
        <Icon name={icon} />
      </button>
      <ConfirmByName
        opened={confirming}
        title={title}
        name={name}
        verb={verb}
        pending={act.isPending}
        error={act.error}
        onClose={() => setConfirming(false)}
        onConfirm={() => act.mutate(undefined, { onSuccess: () => setConfirming(false) })}
      >
        <p className="flat">{children}</p>
      </ConfirmByName>
    </>
  );
}
