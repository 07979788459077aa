import './app/mantine.js';
import './app/styles.css';
import { MantineProvider } from '@mantine/core';
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { ProblemError } from '@berth/client';
import { createRoot } from 'react-dom/client';
import { signedOut } from './api/session.js';
import { Live } from './api/live.js';
import { routerMake } from './app/router.js';
import { theme } from './app/theme.js';

const over = (error: unknown): void => {
  if (error instanceof ProblemError && error.code === 'unauthenticated') signedOut(client);
};
// The transport repeats what may be repeated; events tell what is old.
const client = new QueryClient({
  queryCache: new QueryCache({ onError: over }),
  mutationCache: new MutationCache({
    onError: (error, _v, _c, mutation) => mutation.meta?.['signIn'] !== true && over(error),
  }),
  defaultOptions: {
    queries: {
      staleTime: Infinity,
      retry: false,
      refetchOnWindowFocus: false,
      refetchOnReconnect: false,
      networkMode: 'always',
    },
    mutations: { networkMode: 'always' },
  },
});
const live = new Live(client);
const router = routerMake(client, live);

const root = document.getElementById('root');
if (root === null) throw new Error('the page has no #root');
createRoot(root).render(
  <MantineProvider theme={theme} defaultColorScheme="auto">
    <QueryClientProvider client={client}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </MantineProvider>,
);
