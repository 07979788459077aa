import { ImageSources, InstanceState, Isolation, Name, Project } from '@berth/model';
import { Body, Controller, Get, Headers, Inject, Param, Patch, Post, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { seesProject } from '../access/principal.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { ifMatchOf, setEtag } from './etag.js';
import { Asking, type Caller } from './gate.js';
import { answering } from './idempotency.js';
import { addressName, found, projectOf } from './project-scope.js';
import { listOf } from './query.js';

const ProjectCreate = z.strictObject({ name: Name }).meta({ id: 'ProjectCreate' });
const ProjectUpdate = z
  .strictObject({
    imageSources: ImageSources.partial()
      .refine((s) => Object.keys(s).length > 0, 'must change at least one setting')
      .describe('What imports by URL may do; what is left out stays'),
  })
  .meta({ id: 'ProjectUpdate' });
const Projects = listOf(Project);
const Summary = z
  .strictObject({
    instances: z
      .array(z.strictObject({ state: InstanceState, isolation: Isolation, count: z.int() }))
      .describe('How many there are; what there is none of is left out'),
  })
  .meta({ id: 'ProjectSummary' });

@Controller('v1/projects')
export class ProjectsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post()
  @Action('projects.create', {
    summary: 'Create a project, with a network and a pool called default',
    answers: { 201: { description: 'The project', schema: Project } },
  })
  async create(
    @Asking() asking: Caller,
    @Body({ schema: ProjectCreate }) body: z.infer<typeof ProjectCreate>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Project> {
    const answer = (project: Project): Project => {
      void reply.header('location', `/v1/projects/${project.name}`);
      setEtag(reply, project);
      return project;
    };
    const project = await this.deps.store.projectCreate(answering(reply, asking.context, answer), body);
    this.deps.wake.ledger();
    return answer(project);
  }

  @Get()
  @Action('projects.list', {
    summary: 'List the projects that this token may see',
    answers: { 200: { description: 'All of them', schema: Projects } },
  })
  async list(@Asking() { principal }: Caller): Promise<z.infer<typeof Projects>> {
    const projects = await this.deps.store.projectList();
    return { items: projects.filter((p) => seesProject(principal, p.name)), nextCursor: null };
  }

  @Get(':project')
  @Action('projects.get', {
    summary: 'Get a project',
    answers: { 200: { description: 'The project', schema: Project } },
  })
  async get(
    @Param('project') name: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Project> {
    const project = found('project', name, await this.deps.store.projectGet(name));
    setEtag(reply, project);
    return project;
  }

  @Patch(':project')
  @Action('projects.update', {
    summary: 'Change the settings of a project',
    answers: { 200: { description: 'The project as it is now', schema: Project } },
    ifMatch: true,
  })
  async update(
    @Asking() { context }: Caller,
    @Param('project') name: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Body({ schema: ProjectUpdate }) body: z.infer<typeof ProjectUpdate>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Project> {
    const { redirects, privateAddresses } = body.imageSources;
    const project = await this.deps.store.projectUpdate(context, addressName('project', name), {
      imageSources: {
        ...(redirects === undefined ? {} : { redirects }),
        ...(privateAddresses === undefined ? {} : { privateAddresses }),
      },
      ...ifMatchOf(ifMatch),
    });
    this.deps.wake.ledger();
    setEtag(reply, project);
    return project;
  }

  @Get(':project/summary')
  @Action('instances.list', {
    summary: 'Count the instances of a project by state and isolation',
    answers: { 200: { description: 'Counts', schema: Summary } },
  })
  async summary(
    @Asking() { principal }: Caller,
    @Param('project') name: string,
  ): Promise<z.infer<typeof Summary>> {
    const projectId = await projectOf(this.deps.store, principal, name);
    return { instances: [...(await this.deps.store.instanceCounts(projectId))] };
  }
}
