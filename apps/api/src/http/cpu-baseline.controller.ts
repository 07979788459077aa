import { BaselineAccel, cpuBaseline, CpuBaseline } from '@berth/model';
import { Controller, Get, Inject, Query } from '@nestjs/common';
import { z } from 'zod';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { LabelSelector, labelsOf } from './query.js';

const Group = z.strictObject({
  selector: LabelSelector.optional().describe(
    'Labels of the hosts: `key=value,key=value`; all hosts without it',
  ),
  accel: BaselineAccel.default('kvm').describe('Acceleration under which guests are to have it'),
});

@Controller('v1/cpuBaseline')
export class CpuBaselineController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('hosts.baseline', {
    summary: 'The best processor model that every host of a group can give its virtual machines',
    answers: { 200: { description: 'The model, and of which hosts', schema: CpuBaseline } },
  })
  async get(@Query({ schema: Group }) { selector, accel }: z.infer<typeof Group>): Promise<CpuBaseline> {
    const wanted = Object.entries(selector === undefined ? {} : labelsOf(selector));
    const hosts = (await this.deps.store.hostList()).filter(({ labels }) =>
      wanted.every(([key, value]) => labels[key] === value),
    );
    const lists = hosts.map(({ name, capabilities }) => ({
      name,
      models: capabilities?.cpuModels?.[accel] ?? [],
    }));
    return {
      accel,
      model: cpuBaseline(lists.map(({ models }) => models)),
      hosts: lists.map(({ name }) => name),
      without: lists.filter(({ models }) => models.length === 0).map(({ name }) => name),
    };
  }
}
