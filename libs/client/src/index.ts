export {
  answer,
  BerthClient,
  everyPage,
  type EventPage,
  type EventQuery,
  type FileAnswer,
  type LogRequest,
  type Schemas,
  type StatsRequest,
  type TerminalOpens,
  type TerminalRequest,
} from './client.js';
export { followEvents, type FollowOptions } from './events.js';
export {
  followLog,
  type FollowLogOptions,
  type LogBegin,
  type LogForms,
  type LogPiece,
  type LogSource,
} from './logs.js';
export { errorOf, ProblemError, UnreachableError } from './problem.js';
export { sseMessages, type SseMessage } from './sse.js';
export { inputMessages, orderMessage, terminalMessage, type TerminalMessage } from './terminal.js';
export type { ClientOptions } from './transport.js';
export type { components, operations, paths } from './schema.gen.js';
