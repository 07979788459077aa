export * from './snapshot.js';
export { freeOf } from './filters.js';
export { decide, judge, allVerdictsUpTo, type DecisionDraft } from './decide.js';
