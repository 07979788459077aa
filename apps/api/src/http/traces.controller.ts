import { OperationId, Trace } from '@berth/model';
import { Controller, Get, Inject, Param } from '@nestjs/common';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { addressId, found } from './project-scope.js';

@Controller('v1/operations/:id/trace')
export class TracesController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('operations.trace', {
    summary: 'Get where the time of an operation went; kept in memory, for the newest thousand',
    answers: { 200: { description: 'Its parts so far', schema: Trace } },
  })
  async get(@Asking() { principal }: Caller, @Param('id') id: string): Promise<Trace> {
    const operationId = addressId('operation', OperationId, id);
    found('operation', id, await this.deps.store.operationGet(principal.projectId, operationId));
    return found('trace of operation', id, this.deps.traces.get(operationId));
  }
}
