import {
  Decision,
  DecisionId,
  type InstanceId,
  InstanceSpec,
  Labels,
  Name,
  Operation,
  OperationId,
} from '@berth/model';
import { Body, Controller, Get, Inject, Param, Post, Query } from '@nestjs/common';
import { z } from 'zod';
import { refuseImpossible } from '../instances/requests.js';
import { missing, seesProject } from '../access/principal.js';
import { nameTaken } from '../store/refusals.js';
import { Action } from './action.js';
import { DecisionPreview, HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { operationSettled } from './operation-wait.js';
import { addressId, found, projectFilter, projectOf } from './project-scope.js';
import { listOf, Page, Wait } from './query.js';

const OperationListQuery = z.strictObject({
  ...Page.shape,
  project: Name.optional(),
  state: Operation.shape.state.optional(),
  target: z.uuid().optional().describe('Id of the instance or image'),
});
const Operations = listOf(Operation);

@Controller('v1/operations')
export class OperationsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('operations.list', {
    summary: 'List operations, newest first',
    answers: { 200: { description: 'One page', schema: Operations } },
  })
  async list(
    @Asking() { principal }: Caller,
    @Query({ schema: OperationListQuery }) query: z.infer<typeof OperationListQuery>,
  ): Promise<z.infer<typeof Operations>> {
    const { project, state, target, limit, cursor } = query;
    const page = await this.deps.store.operationList({
      limit,
      projectId: await projectFilter(this.deps.store, principal, project),
      ...(cursor === undefined ? {} : { cursor }),
      ...(state === undefined ? {} : { state }),
      ...(target === undefined ? {} : { targetId: target }),
    });
    return { items: [...page.items], nextCursor: page.nextCursor };
  }

  @Get(':id')
  @Action('operations.get', {
    summary: 'Get an operation, or wait for it',
    answers: { 200: { description: 'The operation as it is now', schema: Operation } },
  })
  async get(
    @Asking() { principal, gone }: Caller,
    @Param('id') id: string,
    @Query({ schema: Wait }) query: Wait,
  ): Promise<Operation> {
    const operationId = addressId('operation', OperationId, id);
    const stored = await this.deps.store.operationGet(principal.projectId, operationId);
    return operationSettled(this.deps, found('operation', id, stored), query.wait ?? 0, gone);
  }
}

@Controller('v1/decisions')
export class DecisionsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get(':id')
  @Action('decisions.get', {
    summary: 'Get a decision of the scheduler',
    answers: { 200: { description: 'The decision', schema: Decision } },
  })
  async get(@Asking() { principal }: Caller, @Param('id') id: string): Promise<Decision> {
    const decision = await this.deps.store.decisionGet(addressId('decision', DecisionId, id));
    if (decision === null) throw missing('decision', id);
    if (principal.project === null) return decision;
    const instance = await this.deps.store.instanceById(decision.instanceId as InstanceId);
    if (instance === null || !seesProject(principal, instance.project)) throw missing('decision', id);
    return decision;
  }
}

const DecisionPreviewRequest = z
  .strictObject({
    name: Name.optional().describe('Refused where it is taken; a form may ask before it has one'),
    labels: Labels.optional(),
    spec: InstanceSpec,
  })
  .meta({ id: 'DecisionPreviewRequest' });

/** Where an instance would go, asked before there is one. */
@Controller('v1/projects/:project/decisions')
export class DecisionPreviewsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post('preview')
  @Action('instances.explain', {
    summary: 'Ask the scheduler where a new instance would go now, and why not elsewhere; nothing is written',
    readOnly: true,
    answers: { 200: { description: 'The decision that would be made', schema: DecisionPreview } },
  })
  async preview(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Body({ schema: DecisionPreviewRequest }) { name, spec }: z.infer<typeof DecisionPreviewRequest>,
  ): Promise<DecisionPreview> {
    const projectId = await projectOf(this.deps.store, principal, project);
    await refuseImpossible(this.deps.store, spec);
    if (name !== undefined && (await this.deps.store.instanceGet(projectId, name)) !== null)
      throw nameTaken('instance', name);
    return this.deps.preview(project, spec, await this.deps.store.originForSpec(projectId, spec));
  }
}
