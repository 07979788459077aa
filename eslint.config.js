import nx from '@nx/eslint-plugin';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';
import { arrows } from './tools/boundaries/arrows.js';

/** The clock, timers, chance and ids belong to the simulation in these cores: they are passed in, never reached for. */
const ambient = [
  { object: 'Date', property: 'now', message: 'Take a Clock as a parameter.' },
  { object: 'Math', property: 'random', message: 'Take a source of randomness as a parameter.' },
  { object: 'performance', property: 'now', message: 'Take a Clock as a parameter.' },
  { object: 'crypto', property: 'randomUUID', message: 'Take an IdSource as a parameter.' },
];
const ambientNames = ['setTimeout', 'setInterval', 'setImmediate'].map((name) => ({
  name,
  message: 'Take a Clock as a parameter: timers belong to it.',
}));
const ambientSyntax = [
  {
    selector: "NewExpression[callee.name='Date'][arguments.length=0]",
    message: 'Take a Clock as a parameter.',
  },
  { selector: "CallExpression[callee.name='Date']", message: 'Take a Clock as a parameter.' },
  { selector: "CallExpression[callee.name='randomUUID']", message: 'Take an IdSource as a parameter.' },
];
const ambientImports = [
  { name: 'node:timers', message: 'Take a Clock as a parameter.' },
  { name: 'node:timers/promises', message: 'Take a Clock as a parameter.' },
  { name: 'node:crypto', importNames: ['randomUUID'], message: 'Take an IdSource as a parameter.' },
];

/** No shell, ever: programs are spawned with argument arrays. */
const bannedSyntax = [
  {
    // nodejs/node issue 57736
    selector:
      "CallExpression[callee.object.name='AbortSignal'][callee.property.name='any'] CallExpression[callee.property.name='timeout']",
    message: 'Node may collect the timeout before it fires; use a timer of your own',
  },
  {
    selector: "Property[key.name='shell']:not([value.value=false])",
    message: 'No shell: spawn the program with an array of arguments.',
  },
  {
    selector: 'ImportSpecifier[imported.name=/^(exec|execSync)$/]',
    message: 'exec and execSync run a shell: spawn the program with an array of arguments.',
  },
];

const storeImports = ['typeorm', 'pg', '@nestjs/typeorm'].map((name) => ({
  name,
  message: 'Only apps/api/src/store speaks to the database.',
}));
const internals = [
  { regex: '^@berth/[^/]+/(src|dist)(/|$)', message: 'Import the public index of the package.' },
  { regex: '^(\\.\\./)+(apps|libs)/', message: 'Import other packages by their name.' },
];

const cores = ['apps/api/src/**/*.ts', 'apps/agent/src/**/*.ts'];
/** Edges: where a process is put together, and where real clocks, timers and ids come from. */
const edges = [
  'apps/{api,agent}/src/main.ts',
  'apps/{api,agent}/src/**/*.main.ts',
  'apps/{api,agent}/src/compose.ts',
  'apps/{api,agent}/src/system-clock.ts',
];
const tests = ['**/*.test.ts', '**/testing/**/*.ts', 'tests/**/*.ts'];

const restrictedImports = (...paths) => ['error', { paths: paths.flat(), patterns: internals }];

export default tseslint.config(
  { ignores: ['**/dist/**', '**/node_modules/**', '.nx/**', '.berth/**', 'coverage/**', '**/*.cjs'] },
  {
    files: ['**/*.ts', '**/*.tsx'],
    extends: [...tseslint.configs.recommended],
    plugins: { '@nx': nx },
    languageOptions: { parserOptions: { ecmaVersion: 2023, sourceType: 'module' } },
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        {
          allow: [],
          allowCircularSelfDependency: true,
          enforceBuildableLibDependency: false,
          depConstraints: arrows,
        },
      ],
      'no-restricted-imports': restrictedImports(storeImports),
      'no-restricted-syntax': ['error', ...bannedSyntax],
      // The compiler refuses what is unused, in less time.
      '@typescript-eslint/no-unused-vars': 'off',
      'no-control-regex': 'error',
      'no-eval': 'error',
      eqeqeq: 'error',
    },
  },
  {
    files: cores,
    ignores: [...edges, ...tests],
    rules: {
      'no-restricted-properties': ['error', ...ambient],
      'no-restricted-globals': ['error', ...ambientNames],
      'no-restricted-syntax': ['error', ...bannedSyntax, ...ambientSyntax],
      'no-restricted-imports': restrictedImports(storeImports, ambientImports),
    },
  },
  {
    files: ['apps/api/src/store/**/*.ts'],
    ignores: tests,
    rules: { 'no-restricted-imports': restrictedImports(ambientImports) },
  },
  {
    // Migrations are the store's.
    files: ['migrations/**/*.ts'],
    rules: { 'no-restricted-imports': restrictedImports() },
  },
  {
    // Tests look at the database from outside.
    files: tests,
    rules: { 'no-restricted-imports': restrictedImports() },
  },
  {
    // Tests of several rooms put real parts together that have no public index (apps), and belong to no room.
    files: ['tests/**/*.ts'],
    rules: { 'no-restricted-imports': 'off', '@nx/enforce-module-boundaries': 'off' },
  },
  prettier,
);
