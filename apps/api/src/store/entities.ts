import type { ImageSources, Role } from '@berth/model';
import { EntitySchema } from 'typeorm';

/*
 * Mappings of the tables that are read whole and have no guarded columns. Everything with states goes through SQL.
 * No relations: what belongs together is read by an explicit join.
 */

export interface ProjectEntity {
  id: string;
  name: string;
  imageSources: ImageSources;
  resourceVersion: number;
  createdAt: Date;
}
export const ProjectEntity = new EntitySchema<ProjectEntity>({
  name: 'Project',
  tableName: 'projects',
  columns: {
    id: { type: 'uuid', primary: true },
    name: { type: 'text' },
    imageSources: { type: 'jsonb', name: 'image_sources' },
    resourceVersion: { type: 'bigint', name: 'resource_version' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
  },
});

export interface RoleBindingEntity {
  id: string;
  projectId: string | null;
  subject: string;
  role: Role;
  createdAt: Date;
}
export const RoleBindingEntity = new EntitySchema<RoleBindingEntity>({
  name: 'RoleBinding',
  tableName: 'role_bindings',
  columns: {
    id: { type: 'uuid', primary: true },
    projectId: { type: 'uuid', name: 'project_id', nullable: true },
    subject: { type: 'text' },
    role: { type: 'text' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
  },
});

export interface JoinTokenEntity {
  id: string;
  hostName: string | null;
  labels: Record<string, string>;
  createdAt: Date;
  expiresAt: Date;
  revokedAt: Date | null;
  consumedAt: Date | null;
}
export const JoinTokenEntity = new EntitySchema<JoinTokenEntity>({
  name: 'JoinToken',
  tableName: 'join_tokens',
  columns: {
    id: { type: 'uuid', primary: true },
    hostName: { type: 'text', name: 'host_name', nullable: true },
    labels: { type: 'jsonb' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
    expiresAt: { type: 'timestamptz', name: 'expires_at' },
    revokedAt: { type: 'timestamptz', name: 'revoked_at', nullable: true },
    consumedAt: { type: 'timestamptz', name: 'consumed_at', nullable: true },
  },
});

export const entities = [ProjectEntity, RoleBindingEntity, JoinTokenEntity];
