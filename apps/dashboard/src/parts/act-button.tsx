import { Button } from '@mantine/core';
import { Icon, type IconName } from './icons.js';

export interface ActLook {
  readonly icon: IconName;
  readonly verb: string;
  /** In a row of a list: the icon alone, `label` being what it is called there. */
  readonly label?: string | undefined;
  /** What is said of it where the mouse rests; the verb where nothing is. */
  readonly hint?: string | undefined;
  readonly className?: string;
  readonly loading?: boolean;
  readonly disabled?: boolean;
  readonly onClick: () => void;
}

/** A button for what can be done with what is shown: with its word on a page, as an icon in a row of a list. */
export function ActButton({
  icon,
  verb,
  label,
  hint,
  className,
  loading = false,
  disabled = false,
  onClick,
}: ActLook) {
  if (label !== undefined)
    return (
      <button
        type="button"
        className="icon-button"
        disabled={disabled || loading}
        aria-label={label}
        title={hint ?? verb}
        onClick={onClick}
      >
        <Icon name={icon} />
      </button>
    );
  return (
    <Button
      size="xs"
      variant="default"
      {...(className === undefined ? {} : { className })}
      {...(hint === undefined ? {} : { title: hint })}
      leftSection={<Icon name={icon} />}
      loading={loading}
      disabled={disabled}
      onClick={onClick}
    >
      {verb}
    </Button>
  );
}
