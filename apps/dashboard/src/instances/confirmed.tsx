import { Button } from '@mantine/core';
import { useState, type ReactNode } from 'react';
import { ConfirmByName } from '../parts/confirm.js';
import { Icon, type IconName } from '../parts/icons.js';

/** What a confirmed action needs of its mutation. */
interface Doing {
  readonly isPending: boolean;
  readonly error: unknown;
  readonly mutate: (variables: undefined, then: { onSuccess: () => void }) => void;
}

/** A button for what a guest may lose by; it is done once the name of the instance was typed. */
export function Confirmed(props: {
  name: string;
  verb: string;
  title: string;
  icon: IconName;
  className?: string;
  doing: Doing;
  disabled: boolean;
  children: ReactNode;
}) {
  const { name, verb, title, icon, className, doing, disabled, children } = props;
  const [confirming, setConfirming] = useState(false);
  return (
    <>
      <Button
        size="xs"
        variant="default"
        {...(className === undefined ? {} : { className })}
        leftSection={<Icon name={icon} />}
        loading={doing.isPending}
        disabled={disabled}
        onClick={() => setConfirming(true)}
      >
        {verb}
      </Button>
      <ConfirmByName
        opened={confirming}
        title={title}
        name={name}
        verb={verb}
        pending={doing.isPending}
        error={doing.error}
        onClose={() => setConfirming(false)}
        onConfirm={() => doing.mutate(undefined, { onSuccess: () => setConfirming(false) })}
      >
        <p className="flat">{children}</p>
      </ConfirmByName>
    </>
  );
}
