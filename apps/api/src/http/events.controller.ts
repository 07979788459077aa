import { Readable } from 'node:stream';
import { BerthError, Event, EventClass, Name, type Problem } from '@berth/model';
import { Controller, Get, Headers, Inject, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { missing } from '../access/principal.js';
import type { EventFilter } from '../store/store.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { eventStream } from './event-stream.js';
import { Asking, type Caller } from './gate.js';
import { asBerthError, problemOf } from './problems.js';
import { wholeNumber } from './query.js';

const Position = z.string().regex(/^\d{1,18}$/, 'must be the position of an event');
const EventsQuery = z.strictObject({
  after: Position.optional().describe(
    'Position to go on from; a list without it begins at the first event, a stream at now',
  ),
  limit: wholeNumber(1, 1000).default(100).describe('Events of one page; a stream has no end'),
  project: Name.optional(),
  class: EventClass.optional(),
  objectKind: z.string().min(1).max(63).optional().describe('For example instance'),
  objectId: z.string().min(1).max(63).optional(),
});
type EventsQuery = z.infer<typeof EventsQuery>;
const Events = z.strictObject({
  items: z.array(Event),
  next: z.string().describe('Send as `after` for what comes next'),
});

/** The ledger: audit, lifecycle and observations as one ordered, resumable stream. */
@Controller('v1/events')
export class EventsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('events.read', {
    summary: 'Read events as a list, or follow them as server-sent events',
    answers: { 200: { description: 'Events in order', schema: Events, stream: 'text/event-stream' } },
    headers: {
      accept: '`text/event-stream` asks for the stream',
      'last-event-id': 'Position to go on from; goes before `after`. 410 when events after it were trimmed',
    },
  })
  async read(
    @Asking() asking: Caller,
    @Query({ schema: EventsQuery }) query: EventsQuery,
    @Headers('accept') accept: string | undefined,
    @Headers('last-event-id') lastEventId: string | undefined,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const filter = filterOf(asking, query);
    const asked = lastEventId === undefined ? query.after : positionOf(lastEventId);
    if (!/\btext\/event-stream\b/.test(accept ?? '')) {
      const items = await this.deps.ledger.read(asked ?? '0', query.limit, filter);
      await reply.send({ items: [...items], next: items.at(-1)?.position ?? asked ?? '0' } satisfies z.infer<
        typeof Events
      >);
      return;
    }
    const after = asked ?? (await this.deps.ledger.head());
    const first = await this.deps.ledger.read(after, 1000, filter);
    const { heartbeatMs } = this.deps.config;
    const frames = eventStream(
      this.deps.ledger,
      { after, filter, heartbeatMs, first, gone: asking.gone, stillAllowed: asking.stillAllowed },
      (error) => this.problem(error, asking),
    );
    await reply
      .header('content-type', 'text/event-stream; charset=utf-8')
      .header('cache-control', 'no-store')
      .header('x-accel-buffering', 'no')
      .send(Readable.from(frames));
  }

  private problem(thrown: unknown, { context }: Caller): Problem {
    const error = asBerthError(thrown);
    if (error.code === 'internal')
      this.deps.logger.error({ traceId: context.traceId, err: thrown }, 'event stream failed');
    return problemOf(error, context.traceId);
  }
}

/** Tokens bound to a project read its events and no other. */
function filterOf({ principal }: Caller, query: EventsQuery): EventFilter {
  if (query.project !== undefined && principal.project !== null && principal.project !== query.project)
    throw missing('project', query.project);
  const project = principal.project ?? query.project;
  return {
    ...(project === undefined ? {} : { project }),
    ...(query.class === undefined ? {} : { classes: [query.class] }),
    ...(query.objectKind === undefined ? {} : { objectKind: query.objectKind }),
    ...(query.objectId === undefined ? {} : { objectId: query.objectId }),
  };
}

function positionOf(header: string): string {
  if (Position.safeParse(header).success) return header;
  throw new BerthError('invalid', 'Last-Event-ID is not the position of an event.', {
    errors: [
      {
        path: 'header/last-event-id',
        code: 'wrongFormat',
        message: 'must be a decimal position',
        remedy: 'Send the id of the last event you read, or leave the header out.',
      },
    ],
  });
}
