export * from './door.js';
export * from './messages.js';
export * from './token.js';
export * from './body.js';
export * from './session.js';
export * from './dial.js';
export * from './file.js';
export * from './terminal.js';
