/* Apart from terminal.ts: browsers need these, and not the schemas. */

/** First byte of a binary message. With a terminal, and on a console, all output is on `output`. */
export const terminalChannels = { input: 0, output: 1, errorOutput: 2 } as const;

/** Longest message either side may send, bytes; longer ones end the connection. */
export const terminalMessageBytes = 64 * 1024;
