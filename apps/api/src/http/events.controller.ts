import { Readable } from 'node:stream';
import { BerthError, Event, EventClass, EventObjectKind, Name, type Problem } from '@berth/model';
import { Controller, Get, Headers, Inject, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { EventFilter } from '../store/store.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { EventStreams } from './event-streams.js';
import { Asking, type Caller } from './gate.js';
import { asBerthError, problemOf } from './problems.js';
import { projectFilter } from './project-scope.js';
import { wholeNumber } from './query.js';

const Position = z.string().regex(/^\d{1,15}$/, 'must be the position of an event');
const EventsQuery = z.strictObject({
  after: Position.optional().describe(
    'Position to go on from; a list without it begins at the first event that is kept, a stream at now',
  ),
  limit: wholeNumber(1, 1000).default(100).describe('Events of one page; a stream has no end'),
  project: Name.optional().describe('Only of this project; events of the cluster belong to none'),
  class: EventClass.optional(),
  objectKind: EventObjectKind.optional(),
  objectId: z.string().min(1).max(63).optional().describe('Only of the object with this id'),
});
type EventsQuery = z.infer<typeof EventsQuery>;
const Events = z.strictObject({
  items: z.array(Event),
  next: z.string().describe('Send as `after`, or as Last-Event-ID of a stream, for what comes next'),
});

/** The ledger: audit, lifecycle and observations as one ordered, resumable stream. */
@Controller('v1/events')
export class EventsController {
  private readonly streams: EventStreams;

  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {
    this.streams = new EventStreams(deps);
  }

  @Get()
  @Action('events.read', {
    summary: 'Read events as a list, or follow them as server-sent events',
    answers: { 200: { description: 'Events in order', schema: Events, stream: 'text/event-stream' } },
    headers: {
      accept: '`text/event-stream` asks for the stream',
      'last-event-id':
        'Position to go on from; goes before `after`. 410 when events after it were trimmed, or it is of a database that was replaced',
    },
  })
  async read(
    @Asking() asking: Caller,
    @Query({ schema: EventsQuery }) query: EventsQuery,
    @Headers('accept') accept: string | undefined,
    @Headers('last-event-id') lastEventId: string | undefined,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const filter = await this.filterOf(asking, query);
    const after = (lastEventId === undefined ? query.after : positionOf(lastEventId)) ?? null;
    if (!/\btext\/event-stream\b/.test(accept ?? '')) {
      const { events, through } = await this.deps.ledger.read(after, query.limit, filter);
      await reply.send({ items: [...events], next: through } satisfies z.infer<typeof Events>);
      return;
    }
    const frames = this.streams.frames({
      follower: await this.deps.ledger.follow(after, filter),
      tokenId: asking.principal.tokenId,
      gone: asking.gone,
      stillAllowed: asking.stillAllowed,
      drop: () => this.drop(asking, reply),
      problem: (error) => this.problem(error, asking),
    });
    await reply
      .header('content-type', 'text/event-stream; charset=utf-8')
      .header('cache-control', 'no-store')
      .header('x-accel-buffering', 'no')
      .send(Readable.from(frames));
  }

  private drop({ principal, context }: Caller, reply: FastifyReply): void {
    const { traceId } = context;
    this.deps.logger.info(
      { traceId, actor: principal.actor },
      'an event stream was dropped: nobody reads it',
    );
    reply.raw.destroy();
  }

  private problem(thrown: unknown, { context }: Caller): Problem {
    const error = asBerthError(thrown);
    if (error.code === 'internal')
      this.deps.logger.error({ traceId: context.traceId, err: thrown }, 'event stream failed');
    return problemOf(error, context.traceId);
  }

  /** Tokens bound to a project read its events and no other. @throws BerthError notFound */
  private async filterOf({ principal }: Caller, query: EventsQuery): Promise<EventFilter> {
    await projectFilter(this.deps.store, principal, query.project);
    const project = principal.project ?? query.project;
    return {
      ...(project === undefined ? {} : { project }),
      ...(query.class === undefined ? {} : { classes: [query.class] }),
      ...(query.objectKind === undefined ? {} : { objectKind: query.objectKind }),
      ...(query.objectId === undefined ? {} : { objectId: query.objectId }),
    };
  }
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
