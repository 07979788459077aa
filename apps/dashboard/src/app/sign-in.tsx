import { Button, PasswordInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useRouter, useSearch } from '@tanstack/react-router';
import { useEffect, useState, type FormEvent } from 'react';
import { signIn } from '../api/session.js';
import { Failure } from '../parts/notices.js';
import { SchemeToggle } from './scheme.js';

export function SignIn() {
  const client = useQueryClient();
  const router = useRouter();
  const { from } = useSearch({ from: '/sign-in' });
  const [secret, setSecret] = useState('');
  useEffect(() => {
    document.title = 'Sign in · Berth';
  }, []);
  const enter = useMutation({
    meta: { signIn: true },
    mutationFn: () => signIn(client, secret),
    onSuccess: () =>
      router.history.push(from?.startsWith('/') === true && !from.startsWith('//') ? from : '/ui/'),
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    enter.mutate();
  };
  return (
    <main className="sign-in">
      <form className="panel" onSubmit={submit}>
        <div className="brand">
          <img src="/ui/berth.svg" alt="" width="28" height="28" />
          <h1>Berth</h1>
          <SchemeToggle />
        </div>
        <PasswordInput
          label="Sign-in code or token"
          description="Run ./berth sign-in on the machine of the API for a code. Each works once."
          value={secret}
          onChange={(e) => setSecret(e.currentTarget.value)}
          autoComplete="off"
          autoFocus
          required
          withAsterisk={false}
          visibilityToggleButtonProps={{ 'aria-label': 'Show what was typed' }}
        />
        {enter.isError && <Failure error={enter.error} />}
        <Button type="submit" fullWidth loading={enter.isPending} disabled={secret.trim() === ''}>
          Sign in
        </Button>
      </form>
    </main>
  );
}
