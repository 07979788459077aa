import type { Type } from '@nestjs/common';
import { EventsController } from './events.controller.js';
import { FilesController } from './files.controller.js';
import { HealthController } from './health.controller.js';
import { CpuBaselineController } from './cpu-baseline.controller.js';
import { HostsController } from './hosts.controller.js';
import { ImageLayersController } from './image-layers.controller.js';
import { ImagesController } from './images.controller.js';
import { InstanceDetailsController } from './instance-details.controller.js';
import { InstancesController } from './instances.controller.js';
import { JoinTokensController } from './join-tokens.controller.js';
import { LayersController } from './layers.controller.js';
import { MetricsController } from './metrics.controller.js';
import { NetworksController } from './networks.controller.js';
import { OpenApiController } from './openapi.controller.js';
import {
  DecisionPreviewsController,
  DecisionsController,
  OperationsController,
} from './operations.controller.js';
import { ProjectsController } from './projects.controller.js';
import { PromptsController } from './prompts.controller.js';
import { RegistriesController } from './registries.controller.js';
import { ScreensController } from './screens.controller.js';
import { SecretsController } from './secrets.controller.js';
import { SecurityGroupsController } from './security-groups.controller.js';
import { SessionController, SignInCodesController } from './session.controller.js';
import { SnapshotsController } from './snapshots.controller.js';
import { TerminalDoorController, TerminalsController } from './terminals.controller.js';
import { TokensController } from './tokens.controller.js';
import { TracesController } from './traces.controller.js';
import { UsageController } from './usage.controller.js';
import { VolumesController } from './volumes.controller.js';

/** Every controller of the REST API; the OpenAPI document lists their routes in this order. */
export const controllers: readonly Type[] = [
  ProjectsController,
  InstancesController,
  PromptsController,
  InstanceDetailsController,
  LayersController,
  TerminalsController,
  TerminalDoorController,
  ScreensController,
  FilesController,
  SnapshotsController,
  ImagesController,
  ImageLayersController,
  RegistriesController,
  SecretsController,
  NetworksController,
  SecurityGroupsController,
  VolumesController,
  HostsController,
  CpuBaselineController,
  UsageController,
  JoinTokensController,
  TokensController,
  SessionController,
  SignInCodesController,
  OperationsController,
  TracesController,
  DecisionsController,
  DecisionPreviewsController,
  EventsController,
  HealthController,
  MetricsController,
  OpenApiController,
];
