import { expect, test } from 'vitest';
import { overOf } from './over.js';

test.each([
  [
    1000,
    'The instance does not run any more.',
    true,
    { text: 'The instance does not run any more.', bad: false },
  ],
  [1008, 'The machine was started without a display', false, { bad: true }],
  [1006, '', true, { text: 'The connection to Berth broke.', bad: true }],
  [1006, '', false, { text: 'The display could not be opened.', bad: true }],
])('a close with %i %j is said as it is', (code, reason, opened, wanted) => {
  expect(overOf(code, reason, opened)).toMatchObject({ at: 'over', ...wanted });
});
