import { z } from 'zod';

/** Identifiers are lower-case UUIDs; the brand keeps one kind from being passed where another is wanted. */
const uuid = () => z.uuid();

export const ProjectId = uuid().brand<'ProjectId'>();
export type ProjectId = z.infer<typeof ProjectId>;
export const HostId = uuid().brand<'HostId'>();
export type HostId = z.infer<typeof HostId>;
export const InstanceId = uuid().brand<'InstanceId'>();
export type InstanceId = z.infer<typeof InstanceId>;
export const ImageId = uuid().brand<'ImageId'>();
export type ImageId = z.infer<typeof ImageId>;
export const VolumeId = uuid().brand<'VolumeId'>();
export type VolumeId = z.infer<typeof VolumeId>;
export const SnapshotId = uuid().brand<'SnapshotId'>();
export type SnapshotId = z.infer<typeof SnapshotId>;
export const NetworkId = uuid().brand<'NetworkId'>();
export type NetworkId = z.infer<typeof NetworkId>;
export const SecurityGroupId = uuid().brand<'SecurityGroupId'>();
export type SecurityGroupId = z.infer<typeof SecurityGroupId>;
export const RegistryCredentialId = uuid().brand<'RegistryCredentialId'>();
export type RegistryCredentialId = z.infer<typeof RegistryCredentialId>;
export const SecretId = uuid().brand<'SecretId'>();
export type SecretId = z.infer<typeof SecretId>;
export const NicId = uuid().brand<'NicId'>();
export type NicId = z.infer<typeof NicId>;
export const OperationId = uuid().brand<'OperationId'>();
export type OperationId = z.infer<typeof OperationId>;
export const DecisionId = uuid().brand<'DecisionId'>();
export type DecisionId = z.infer<typeof DecisionId>;

/** Content address: `sha256:` and 64 lower-case hex digits (OCI image-spec, "Digests"). */
export const Digest = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/, 'must be sha256:<64 hex digits>')
  .brand<'Digest'>();
export type Digest = z.infer<typeof Digest>;

/** A DNS label (RFC 1123): names double as host names inside guest networks. */
export const Name = z
  .string()
  .min(1)
  .max(63)
  .regex(
    /^[a-z]([-a-z0-9]*[a-z0-9])?$/,
    'must be a DNS label: lower-case letters, digits and "-", starting with a letter',
  );
export type Name = z.infer<typeof Name>;

/** Label keys and values as selectors use them. */
export const Labels = z
  .record(
    z
      .string()
      .regex(
        /^[a-z0-9]([-a-z0-9._/]{0,61}[a-z0-9])?$/,
        'label keys: lower-case letters, digits, "-", ".", "_", "/"',
      ),
    z
      .string()
      .max(63)
      .regex(/^[A-Za-z0-9]?([-A-Za-z0-9._]*[A-Za-z0-9])?$/, 'label values: letters, digits, "-", ".", "_"'),
  )
  .refine((l) => Object.keys(l).length <= 32, 'at most 32 labels');
export type Labels = z.infer<typeof Labels>;
